"""Handwritten equivalents, without a library: the minimum that does the same for a successful call."""

import asyncio
import functools
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

ATTEMPTS, LIMIT, IN_A_ROW = 3, 20.0, 5
Function = Callable[..., Any]


def retry(fn: Function) -> Function:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        for attempt in range(ATTEMPTS):
            try:
                return fn(*args, **kwargs)
            except Exception:
                if attempt == ATTEMPTS - 1:
                    raise
        return None

    return wrapper


def async_retry(fn: Function) -> Function:
    @functools.wraps(fn)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        for attempt in range(ATTEMPTS):
            try:
                return await fn(*args, **kwargs)
            except Exception:
                if attempt == ATTEMPTS - 1:
                    raise
        return None

    return wrapper


def logged_retry(log: Callable[[str, int, BaseException], None], *, is_async: bool) -> Callable[[Function], Function]:
    """Return a decorator that writes one line for each failure that is retried."""

    def seen(fn: Function, attempt: int, error: BaseException) -> None:
        if attempt == ATTEMPTS - 1:
            raise error
        log(fn.__qualname__, attempt + 1, error)

    def decorator(fn: Function) -> Function:
        @functools.wraps(fn)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            for attempt in range(ATTEMPTS):
                try:
                    return fn(*args, **kwargs)
                except Exception as error:
                    seen(fn, attempt, error)
            return None

        @functools.wraps(fn)
        async def async_wrapper(*args: Any, **kwargs: Any) -> Any:
            for attempt in range(ATTEMPTS):
                try:
                    return await fn(*args, **kwargs)
                except Exception as error:
                    seen(fn, attempt, error)
            return None

        return async_wrapper if is_async else wrapper

    return decorator


class Circuit:
    """A breaker that opens after a number of consecutive failures."""

    def __init__(self) -> None:
        self.lock, self.failures, self.until = threading.Lock(), 0, 0.0

    def check(self) -> None:
        if self.until and time.monotonic() < self.until:
            raise ConnectionError("the circuit is open")

    def succeeded(self) -> None:
        if self.failures:
            with self.lock:
                self.failures, self.until = 0, 0.0

    def failed(self) -> None:
        with self.lock:
            self.failures += 1
            if self.failures >= IN_A_ROW:
                self.until = time.monotonic() + 30


def breaker(fn: Function) -> Function:
    circuit = Circuit()

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        circuit.check()
        try:
            value = fn(*args, **kwargs)
        except Exception:
            circuit.failed()
            raise
        circuit.succeeded()
        return value

    return wrapper


def async_breaker(fn: Function) -> Function:
    circuit = Circuit()

    @functools.wraps(fn)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        circuit.check()
        try:
            value = await fn(*args, **kwargs)
        except Exception:
            circuit.failed()
            raise
        circuit.succeeded()
        return value

    return wrapper


def fallback(fn: Function) -> Function:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return fn(*args, **kwargs)
        except Exception:
            return 0

    return wrapper


def async_fallback(fn: Function) -> Function:
    @functools.wraps(fn)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return await fn(*args, **kwargs)
        except Exception:
            return 0

    return wrapper


def alarm(fn: Function, seconds: float = LIMIT) -> Function:
    """Limit a call in the main thread by a timer signal."""

    def over(_number: int, _frame: Any) -> None:
        raise TimeoutError

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        before = signal.signal(signal.SIGALRM, over)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            return fn(*args, **kwargs)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    return wrapper


def cancelled(fn: Function, seconds: float = LIMIT) -> Function:
    """Limit an async call."""

    @functools.wraps(fn)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        async with asyncio.timeout(seconds):
            return await fn(*args, **kwargs)

    return wrapper


def joined(fn: Function, seconds: float = LIMIT) -> Function:
    """Limit a call in any thread: it runs in a new one, which is abandoned at the limit."""

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        found: list[Any] = []
        raised: list[BaseException] = []

        def run() -> None:
            try:
                found.append(fn(*args, **kwargs))
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(seconds)
        if thread.is_alive():
            raise TimeoutError
        if raised:
            raise raised[0]
        return found[0]

    return wrapper


def semaphore(fn: Function) -> Function:
    free = threading.Semaphore(10)

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with free:
            return fn(*args, **kwargs)

    return wrapper


def async_semaphore(fn: Function) -> Function:
    free = asyncio.Semaphore(10)

    @functools.wraps(fn)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        async with free:
            return await fn(*args, **kwargs)

    return wrapper
