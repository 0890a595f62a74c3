"""The run report as one HTML page that needs no network."""

from resilient_tasks.observe.page.document import html as html
