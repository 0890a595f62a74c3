"""State machines of what calls share. Free of I/O, of locks and of clocks: a state and the time in, the next state out.

Each state is an immutable value with `encode()` and a `decode(bytes)`, so that any store can hold it.
"""
