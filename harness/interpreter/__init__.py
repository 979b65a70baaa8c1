"""The interpreter: carries out the operations of a generator and the planned faults.

- :mod:`~harness.interpreter.scheduler`: the pure core; events in, effects out.
- :mod:`~harness.interpreter.interpreter`: workers, clients and faults around it, as coroutines.
- :mod:`~harness.interpreter.asyncio_driver`: those coroutines on an event loop, in real time.
- :mod:`~harness.interpreter.simulated_driver`: the same coroutines stepped in virtual time.
"""
