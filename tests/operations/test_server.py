"""The section "The server and its UI" of the page on operations."""


def test_a_server_on_another_port_answers_commands(prefect_server):
    assert f"PREFECT_API_URL='{prefect_server.url}'" in prefect_server.prefect("config", "view")
