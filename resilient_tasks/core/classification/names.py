"""Classify failures by the names of error classes and by the codes that services send.

Both are read as words: `RateLimitExceeded`, `rate_limit_exceeded` and `rateLimitExceeded` mean the same. A word for a
refusal wins over a word for a connection: `InvalidConnectionString` is not a broken connection.
"""

from __future__ import annotations

import functools
import re
import sys

from resilient_tasks.core.classification.kinds import RETRIED_BY_DEFAULT, Kind
from resilient_tasks.redaction.patterns import compiled

_WORD_ENDS = compiled(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^A-Za-z0-9]+")


def _any(words: str) -> re.Pattern[str]:
    """Return a pattern for beginnings of words; a trailing `_` makes a whole word. Lines with # are comments."""
    return compiled(f"_(?:{'|'.join(re.sub(r'#.*', '', words).split())})")


#: The account's paid quota is used up: waiting does not help.
_QUOTA = _any(
    r"""
    quota insufficient_(?!resource) billing payment credit_ credits_ spend spending daily hard_limit usage_limit
    (?:balance|funds)_ over_daily plan_limit
    """
)
#: An explicit statement, which wins over all others.
_RETRYABLE = compiled(r"(?<!_non)(?<!_not)(?<!_never)_(?:retry|retri)able")
#: Names about authentication: no refusal if a code with it means that the service is at fault.
_AUTHENTICATION = _any("auth_ authent authoriz authoris oauth o_auth credential login_ token_")
_TLS = _any("ssl tls certificate cert_")
_REFUSED = _any(
    r"""
    # the client
    auth_ authent authoriz authoris unauth oauth credential login_ password permission forbidden denied
    access_refused not_allowed not_permitted not_authorized account_ license (?:token|session)_expired legal
    security insecure kerberos key_exchange not_verif
    # the resource
    not_found no_such missing unknown_(?!host_) undefined unrecognized (?<!connection_)does_not_exist
    (?<!connection_does_not_)exist
    gone_(?!away) duplicate already (?<!write_)(?<!transaction_)(?<!update_)conflict integrity constraint
    precondition unprocessable
    # the request
    ssh_unknown_host
    invalid_(?!chunk) illegal mandatory not_started not_init not_closed not_busy dsn empty_(?:error|exception)_
    bad_(?:request_(?!timeout)|arg|param|cred|host|user|attr|auth) improper
    unsupported not_supported not_implemented unimplemented incompatible (?<!checksum_)mismatch wrong host_key
    verification validation schema_ config setting argument param attribute state_ usage_ deprecat programming
    (?<!xml_)(?<!json_)(?<!yaml_)(?<!html_)syntax transport_query malformed_(?:request|query|url) format_ overflow
    too_(?:large|long|big|old|deep) max_(?:payload|size|length|message|body) read_only disallowed value_error
    (?<!content_)type_error key_error index_error name_error redirect local_protocol url_ uri_ location_
    connection_(?:string|name|id_|option|type|kind|class|info) timeout_(?:value|type|option|range) adapter registry
    compression disabled enabled by_client cancel
    # a part of the library that is not installed
    package_ extension module_ dependency md5 zstd_(?!error_$) feature
    # the library's own judgement
    non_ not_re(?!ady) permanent unsafe unrecoverable irrecoverable fatal_
    """
)
_FAMILIES = (
    (
        Kind.MALFORMED,
        _any(
            r"""
            decod deserial serializ parse malform corrupt truncat
            incomplete_(?:read|body|response|payload|message) checksum chunked_encoding content_encoding
            transfer_encoding payload_ bad_(?:zip|gzip|http|data) content_(?:type|length)_error
            bad_status_line data_loss invalid_chunk empty_data unexpected_(?:eof|end_|content) scanner yaml_error
            (?:zstd|lz4|snappy|brotli|gzip|zlib|lzma)_?\w*_?error (?:xml|json|yaml|toml|html)_syntax
            """
        ),
    ),
    (
        Kind.RESOURCE,
        _any(
            r"""
            out_of_memory memory_(?:error|limit) no_space no_more_space disk_full worker_lost
            broken_(?:worker|process) (?:dead|killed)_(?:worker|process|kernel|node|actor)
            (?:process|worker|kernel|node|actor|executor)_(?:expired|died|killed|crashed|terminated)
            """
        ),
    ),
    (
        Kind.THROTTLED,
        _any(
            r"""
            throttl rate_?limit rate_exceeded
            too_many_(?:\w*requests?|quer|simultaneous|concurrent|calls|operations) queue_(?:is_)?full
            requests?_limit slow_?down
            throughput_exceeded flood_wait back_?pressure enhance_your_calm overload bandwidth_limit resource_exhausted
            server_busy over_query_limit concurrency_limit retry_after capacity_exceeded
            prior_request_not_complete transaction_in_progress query_queue_full
            """
        ),
    ),
    (
        Kind.TIMEOUT,
        _any(
            r"""
            \w*time_?outs? \w*timed_?out deadline_?exceeded time_limit max_time_ exceeded_time took_too
            expired_waiting too_slow wait_time_exceeded
            """
        ),
    ),
    (
        Kind.TRANSIENT,
        _any(
            r"""
            connection connect(?:or|ing)?_ cannot_connect disconnect reconnect network transport_error
            unavailable not_available availability_(?:error|exc)
            comm(?:unication)?_(?:error|fail|exc|closed) remote_protocol temporar transient
            retriable retryable recoverable try_?again deadlock write_conflict update_conflict
            transaction_(?:conflict|serializ|abort) lock_acqui unable_to_(?:lock|acquire|obtain)
            serialization_(?:failure|conflict)
            concurrent_(?:update|modif) lock_(?:wait|not_available)
            (?:database|document|record|row)_(?:is_)?locked locked_error sharing_violation lost_(?:remote|peer)
            busy_(?!resource) \w+_busy_ \w*_?down_$ \w+_down_(?:error|exception)_$ bad_gateway gateway_
            no_(?:host|node|broker|server|worker|leader)_available
            no_(?:hosts|nodes|brokers|servers|workers|leaders|connections|backends|endpoints|responders)_
            unexpected(?:ly)?_close server_error_$ broken_(?:pipe|resource) end_of_stream
            no_nameservers stream_(?:lost|reset) (?<!web_)socket_(?!io_) dns_(?:error|fail|lookup|resol|query_fail)
            unknown_host resolve_host
            (?:host_|server_|node_|un)unreachable unreachable
            server_(?:down|halted|stopped) service_down gone_away hung_up
            (?:node|server|unit|service|resource|broker|cluster|shard|replica|partition|index)_not_ready
            (?:instance|node|server|member)_not_active
            not_connected too_many_(?:sessions|clients|channels|connections)
            (?:not_|no_)(?:leader|primary|master_node|coordinator)
            stepped_down shutdown_in_progress shutting_down starting_up interrupted_at_shutdown
            operation_aborted (?:pool|\w+_pool)_(?:exhausted|empty) empty_pool
            session_terminated_by_server host_unreachable is_restarting leader_election
            """
        ),
    ),
)
#: Clear as a service's code, but too vague as the name of a class.
_CODES_ONLY = compiled(
    r"_(?:internal|internal_(?:error|failure|service_error)|(?:server|backend|service|api|fatal)_error"
    r"|(?:\w+_)?out_of_memory|transport|all_brokers_down|resolve|\w+_not_ready|service_(?:failure|exception)|team_added_to_org)_"
)


def as_words(name: str) -> str:
    """Return a name as lower-case words with `_` around each of them: `_rate_limit_exceeded_`."""
    return f"_{_WORD_ENDS.sub('_', name).strip('_').lower()}_"


@functools.lru_cache(maxsize=4096)
def of_name(name: str) -> Kind | None:
    """Return the kind by the name of a class; None if the name has no meaning."""
    words = as_words(name)
    if _RETRYABLE.search(words):
        named = next((kind for kind, family in _FAMILIES if family.search(words)), None)
        return named if named in RETRIED_BY_DEFAULT else Kind.TRANSIENT
    if _REFUSED.search(words) or _QUOTA.search(words) or _TLS.search(words):
        return Kind.PERMANENT
    return next((kind for kind, family in _FAMILIES if family.search(words)), None)


@functools.lru_cache(maxsize=4096)
def of_code(code: str) -> Kind | None:
    """Return the kind for a service's error code; None for an unknown code."""
    words = as_words(code)
    if _CODES_ONLY.fullmatch(words):
        return Kind.TRANSIENT
    if code == "LimitExceededException":  # AWS's own client retries it
        return Kind.THROTTLED
    whole, dot, _ = code.partition(".")
    return of_name(code) or (of_code(whole) if dot else None)  # `InternalError.Disk`


def is_quota(name: str) -> bool:
    """Return whether a name or code means that a paid quota is used up."""
    return _QUOTA.search(as_words(name)) is not None


def is_authentication(name: str) -> bool:
    """Return whether a name is about authentication: a login, a token."""
    return _AUTHENTICATION.search(as_words(name)) is not None


@functools.lru_cache(maxsize=4096)
def is_tls(name: str) -> bool:
    """Return whether a name is about TLS: then only the cause distinguishes a hang-up from a bad certificate."""
    return _TLS.search(as_words(name)) is not None


_ALWAYS_OWN = frozenset({"__main__", "__mp_main__", "builtins", "resilient_tasks"})


@functools.lru_cache(maxsize=4096)
def of_a_library(module: str) -> bool:
    """Return whether a module belongs to an installed library: not to Python, the user's own code or this library.

    A user's own module is loaded from outside of `site-packages`. A module that is not loaded here (a class came from
    another process, or a compiled library uses another module name) counts as a library's.
    """
    top = module.partition(".")[0]
    if top in _ALWAYS_OWN or top in sys.stdlib_module_names:
        return False
    loaded = sys.modules.get(module) or sys.modules.get(top)
    file = getattr(loaded, "__file__", None)
    return not isinstance(file, str) or in_site_packages(file)


def in_site_packages(file: str) -> bool:
    """Return whether a file lies in a folder of installed libraries."""
    return "site-packages" in file or "dist-packages" in file
