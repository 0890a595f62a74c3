"""An S3 on this machine, which can be away for a while."""

import contextlib
import urllib.request
from dataclasses import dataclass, field
from typing import Any

KEY, SECRET = "testing", "wJalrXUtnFEMIzK7MDENGzbPxRfiCYzz"


@dataclass
class S3:
    """A server of moto's. What is in its buckets stays while it is away."""

    port: int = 0
    server: Any = field(default=None, init=False)

    def start(self):
        """Listen, on the port of before."""
        from moto.moto_server.threaded_moto_server import ThreadedMotoServer

        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self.server.start()
        self.port = self.server.get_host_and_port()[1]
        return self

    def stop(self):
        """Be away: connections are refused."""
        if self.server is not None:
            self.server.stop()
            self.server._server.server_close()
            self.server = None

    def empty(self):
        """Forget every bucket: all servers of a process share what they hold."""
        request = urllib.request.Request(f"{self.url}/moto-api/reset", method="POST")
        urllib.request.urlopen(request, timeout=30).close()

    @contextlib.contextmanager
    def away(self):
        """Be away during the block."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @property
    def url(self):
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def options(self):
        """What s3fs takes; it gives up soon."""
        patience = {"connect_timeout": 2, "retries": {"max_attempts": 0}}
        return {"key": KEY, "secret": SECRET, "endpoint_url": self.url, "config_kwargs": patience}

    @property
    def env(self):
        """What commands find it by."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def make(self, bucket):
        """Make a bucket."""
        self._files().mkdir(bucket)

    def keys(self, bucket):
        """What is in a bucket."""
        files = self._files()
        files.invalidate_cache()
        return sorted(key.removeprefix(f"{bucket}/") for key in files.find(bucket))

    def buckets(self):
        """The buckets that there are."""
        files = self._files()
        files.invalidate_cache()
        return files.ls("")

    def _files(self):
        import s3fs

        return s3fs.S3FileSystem(key=KEY, secret=SECRET, endpoint_url=self.url)
