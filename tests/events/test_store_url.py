"""What a store's URL says, and that a wrong one is refused in a sentence."""

import pytest
from pydantic import ValidationError
from redis.asyncio import SSLConnection

from runcast_events.redis import bare_connection, connect
from runcast_events.store_url import EXPECTED, parse_store_url
from runcast_service.settings import ServiceSettings, explain


def test_a_service_of_sentinels_is_read_in_all_its_parts() -> None:
    """User and password are the store's; the Sentinels have their own."""
    url = (
        "redis+sentinel://u:p%40ss@one,two:26380,[::1]:26381/main/3?sentinel_password=s%26cret&health_check_interval=9"
    )
    parsed = parse_store_url(url)
    assert (parsed.service, parsed.sentinels) == ("main", (("one", 26379), ("two", 26380), ("::1", 26381)))
    assert parsed.options == {"username": "u", "password": "p@ss", "db": 3, "health_check_interval": 9}
    assert parsed.sentinel_options == {"password": "s&cret"}
    assert "p@ss" not in repr(parsed)
    assert "s&cret" not in repr(parsed)


def test_the_least_that_names_a_service() -> None:
    """Port 26379 and database 0, as everywhere."""
    parsed = parse_store_url("redis+sentinel://one/main")
    assert (parsed.service, parsed.sentinels, parsed.options["db"]) == ("main", (("one", 26379),), 0)


def test_with_tls_the_sentinels_have_it_too() -> None:
    """By the same certificates."""
    parsed = parse_store_url("rediss+sentinel://one/main?ssl_ca_certs=/ca.pem")
    expected = {"connection_class": SSLConnection, "ssl_ca_certs": "/ca.pem"}
    assert parsed.sentinel_options == expected
    assert expected.items() <= parsed.options.items()


@pytest.mark.parametrize("url", ["redis://h:1/2", "rediss://h", "unix:///run/store.sock"])
def test_a_single_server_is_no_service(url: str) -> None:
    """redis-py's own forms are read by redis-py."""
    assert parse_store_url(url).service == ""


@pytest.mark.parametrize(
    "url",
    [
        *("", "h:6379", "http://h", "redis+sentinel://one", "redis+sentinel://one/", "redis+sentinel:///main"),
        *("redis+sentinel://one,/main", "redis+sentinel://one:x/main", "redis+sentinel://one:99999/main"),
        *("redis+sentinel://one/main/zero", "redis+sentinel://one/main/0/1", "redis+sentinel://one/main?db=x"),
        *("unix+sentinel://one/main", "redis+sentinel://::1/main", "redis+sentinel://u:secret@/main"),
    ],
)
def test_a_wrong_url_is_refused_in_a_sentence_without_its_password(url: str) -> None:
    """At the start of the process."""
    with pytest.raises(ValueError, match="expected redis://"):
        parse_store_url(url)
    with pytest.raises(ValidationError) as refused:
        ServiceSettings(redis_url=url)
    assert explain(refused.value) == f"RUNCAST_REDIS_URL: {EXPECTED}"


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
async def test_connections_to_a_master_are_cancel_safe_and_of_the_kind_that_was_asked_for(scheme: str) -> None:
    """Those of the pool and the subscriber's, like all others."""
    url = f"{scheme}+sentinel://127.0.0.1:1/main/3"
    client = connect(url, "test", max_connections=5)
    for kind in (client.connection_pool.connection_class, type(bare_connection(url, "test"))):
        names = [each.__name__ for each in kind.__mro__]
        assert {"CancelSafe", "ToMaster"} <= set(names)
        assert ("SSLConnection" in names) == (scheme == "rediss")
    assert client.connection_pool.max_connections == 5
    await client.aclose()
