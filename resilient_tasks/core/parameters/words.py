"""Other libraries' names for our arguments (tenacity, stamina, backoff, pybreaker, Prefect), and likely guesses."""

from __future__ import annotations

from collections.abc import Collection, Mapping

#: By our argument, its names elsewhere. If a name fits several arguments, the first that a function has is meant.
_OTHERS: Mapping[str, str] = {
    # a retry, a hedge
    "attempts": "max_attempts max_tries tries retries max_retries num_retries attempt_count stop_max_attempt_number"
    " total times count retry n number max",
    "wait": "delay delays wait_seconds wait_fixed wait_time wait_gen interval backoff sleep pause retry_delay"
    " retry_delay_seconds base_delay initial_delay wait_initial max_delay max_wait wait_max max_value max_interval"
    " jitter wait_jitter backoff_factor backoff_base multiplier factor base exponential exponential_base wait_exp_base"
    " retry_jitter_factor wait_exponential_multiplier wait_exponential_max wait_random",
    "on": "exceptions exception retry_on errors error expected_exception catch catches retry_on_exception retry_if"
    " retry_error on_exception exception_types retryable kinds kind retry_condition retry_condition_fn retry",
    "on_result": "retry_on_result result if_result on_predicate predicate retry_if_result",
    "stop": "until stop_after giveup give_up",
    # limits
    "seconds": "timeout_seconds timeout max_time total_timeout deadline limit duration time time_limit secs sec"
    " max_seconds s value delay per interval",
    "timeout": "timeout_seconds timeout_s time_out time_limit attempt_timeout seconds",
    "deadline": "max_time total_timeout overall_timeout stop_after_delay stop_max_delay give_up_after",
    "enforce": "mode method how kill process shadow dry_run metrics_only report_only",
    # a breaker
    "failures": "threshold failure_threshold fail_max max_failures error_threshold failure_count trip_after attempts"
    " max_errors",
    "failure_rate": "failure_rate_threshold error_rate rate error_percentage failure_threshold_percentage",
    "open_for": "reset_timeout recovery_timeout timeout_duration open_seconds cooldown cool_down sleep_window timeout"
    " break_duration reset_after recovery_time half_open_after wait_duration_in_open_state seconds",
    "probes": "half_open_max_calls success_threshold permitted_calls half_open_calls trial_calls",
    "window": "rolling_window window_seconds sampling_duration sliding_window window_size interval period",
    "min_calls": "minimum_throughput min_requests minimum_calls min_throughput minimum_number_of_calls min_volume",
    "slow": "slow_threshold slow_call_duration slow_after slow_call",
    # a bulkhead, a rate limit
    "limit": "max_concurrent max_concurrency concurrency size max_calls workers slots permits capacity max_parallel"
    " max_workers",
    "queue": "max_queue queue_size waiting max_waiting queue_limit",
    "calls": "requests limit tokens max_calls rate_limit max_requests calls_per_second requests_per_second rps qps"
    " per_second rate calls_per_minute",
    "per": "period interval window seconds time_period every",
    "burst": "capacity bucket bucket_size max_burst",
    "start": "initial initial_rate start_rate start_at calls requests limit rate rps qps requests_per_second",
    "least": "min minimum min_rate minimum_rate lowest floor lower",
    "most": "max maximum max_rate maximum_rate highest ceiling upper max_calls",
    "increase": "step additive increment increase_by add",
    "decrease": "factor multiplier multiplicative beta backoff backoff_factor decrease_by",
    "after": "delay timeout seconds hedge_after wait",
    "name": "key id service resource label",
    # data
    "output": "schema model out result output_schema data df frame outputs returns",
    "input": "inputs arguments params input_schema args",
    "on_invalid": "invalid on_error on_fail mode action bad_rows on_invalid_rows",
    "max_invalid": "threshold max_bad tolerance max_errors invalid_threshold",
    "quarantine": "folder path dir directory location quarantine_dir quarantine_path",
    "url": "path folder uri webhook webhook_url endpoint address location root",
    # a fallback, chaos
    "value": "default fallback_value return_value result otherwise constant",
    "use": "function func fn callback handler fallback_function fallback call",
    "max_age": "age ttl expires expire max_staleness staleness older_than valid_for max_seconds seconds"
    " cache_expiration",
    "otherwise": "fallback default else_ use fn func function value on_missing if_missing",
    "folder": "path dir directory location url storage result_storage root",
    "keep": "size maxsize max_size max_keys max_entries limit",
    "key": "cache_key key_fn cache_key_fn by",
    "serializer": "result_serializer serialiser encoder pickler codec format",
    "rate": "probability p chance failure_rate ratio",
    "fault": "exception error exceptions errors raises",
    "latency": "delay slow sleep wait seconds",
    "seed": "random_seed random_state",
    # alerts
    "notify": "slack email alert alerts notification notifications notifier notifiers channel channels",
    "channels": "channel to targets slack",
    "channel": "room channel_name channels to channel_id target",
    "webhook": "webhook_url url hook incoming_webhook",
    "token": "bot_token api_token auth slack_token",
    "to": "recipients recipient address email emails to_addr to_addrs receiver receivers",
    "host": "server smtp_host smtp_server hostname smtp",
    "port": "smtp_port",
    "sender": "from_ from_addr from_address from_email mail_from",
    "username": "user login smtp_user smtp_username",
    "password": "passwd pw smtp_password pass_",
    "security": "ssl tls use_tls use_ssl starttls encryption",
    "secret": "key signing_key signing_secret hmac_key",
    "severity": "level min_level priority",
    "cooldown": "cool_down notify_cooldown window interval quiet",
    # decorators
    "retry": "retries retrys attempts max_attempts max_retries tries retry_policy max_tries wait delay backoff"
    " retry_delay retry_on exceptions",
    "breaker": "circuit_breaker circuitbreaker circuit cb",
    "rate_limit": "ratelimit rate_limiter throttle limiter limits rate adaptive_rate_limit adaptive",
    "bulkhead": "semaphore concurrency max_concurrency concurrency_limit max_concurrent",
    "hedge": "hedging hedged",
    "single_flight": "singleflight coalesce coalescing dedupe deduplicate dedup collapse request_coalescing",
    "shared": "distributed across_workers global_ everywhere",
    "largest": "max_size max_bytes limit size max_result",
    "copy": "deepcopy deep_copy copies",
    "validate": "schema validator validation output",
    "fallback": "default on_error otherwise fallback_function backup on_failure fallback_value last_good lastgood",
    "policies": "pipeline",
    "policy": "profile preset config configuration named policy_name backend instance",
    "idempotent": "is_idempotent idempotency",
    "cache_key_fn": "cache_key cache_fn",
    "cache_policy": "cache",
    "timeout_seconds": "timeout",
    # settings
    "enabled": "disabled disable enable active on off",
    "store": "storage backend redis store_url state_store redis_url",
    "store_timeout": "timeout",
    "notify_deadline": "deadline",
    "notify_cooldown": "cooldown",
    "secrets": "secret redact redacted",
    "incidents": "outbox incidents_url incidents_db",
    # test servers
    "times": "count n number repeat calls attempts requests",
    "status": "code status_code http_status",
    "retry_after": "after seconds delay wait retry_after_seconds",
    "code": "status status_code",
    "older_than": "age max_age days before",
}


def meant_by(word: str, ours: Collection[str]) -> tuple[str, ...]:
    """Return the arguments among `ours` that an unknown `word` may mean, the likeliest first; at most two."""
    plain = word.lower()
    exact = [name for name, others in _OTHERS.items() if name in ours and plain in others.split()]
    if plain in ours:  # written in capitals
        exact.insert(0, plain)
    if not exact:
        spelt = {other: name for name, others in _OTHERS.items() if name in ours for other in others.split()}
        spelt |= {name: name for name in ours}
        import difflib  # noqa: PLC0415  # only for a typing error

        likely = difflib.get_close_matches(plain, spelt, n=2, cutoff=_SIMILAR)
        exact = [spelt[one] for one in likely]
    return tuple(dict.fromkeys(exact))[:2]


#: The least similarity of a word and its misspelling.
_SIMILAR = 0.7


def did_you_mean(word: str, ours: Collection[str]) -> str:
    """Return `: did you mean attempts=?` as the end of a sentence; empty if no argument is similar."""
    found = meant_by(word, ours)
    return f": did you mean {' or '.join(f'{name}=' for name in found)}?" if found else ""


_LONGER = "write wait=tenacity.wait_random_exponential(multiplier=0.5, max=60), or wait=[1, 2, 4]"
_LIMIT = "a limit is a separate policy; write timeout=20 or deadline=120 beside retry="
_FIRST = "did you mean attempts=? The first attempt counts, too"
#: By class, names from elsewhere whose meaning is expressed in another way here.
_NOTES: Mapping[str, Mapping[str, str]] = {
    "Retry": {
        **dict.fromkeys(("timeout", "deadline", "max_time", "seconds", "attempt_timeout", "total_timeout"), _LIMIT),
        **dict.fromkeys(("retries", "max_retries", "num_retries"), _FIRST),
        **dict.fromkeys(
            (
                *("max_delay", "max_wait", "wait_max", "max_value", "max_interval", "jitter", "wait_jitter"),
                *("backoff_factor", "backoff_base", "multiplier", "factor", "base", "exponential", "exponential_base"),
                *("wait_exp_base", "retry_jitter_factor", "wait_exponential_multiplier", "wait_exponential_max"),
            ),
            f"waits grow, with full jitter, unless wait= says otherwise; {_LONGER}",
        ),
        "reraise": "the function's own error is raised in any case; leave it out",
    },
    "RateLimit": dict.fromkeys(
        ("calls_per_second", "requests_per_second", "per_second", "rps", "qps", "rate"), "write calls=10, per=1"
    ),
}


def note_on(title: str, word: str) -> str:
    """Return what to write for `word` if our class `title` has no such argument; otherwise an empty text."""
    return _NOTES.get(title, {}).get(word.lower(), "")
