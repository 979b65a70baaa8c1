"""A right history of every kind, and which checkers may judge it.

``FITS`` says for each kind which checkers know all its operations and the shapes of its values; all
others must refuse it, or find nothing there that they judge.
"""

from __future__ import annotations

REGISTERS = {
    "register", "cas-register", "key-value", "rw-register", "read-committed", "read-atomic",
    "transactional-causal", "serializable", "snapshot-isolation", "causal", "session-guarantees",
    "bounded-staleness",
}  # fmt: skip
TRANSACTIONS = {
    "multi-register", "rw-register", "read-committed", "read-atomic", "transactional-causal",
    "serializable", "snapshot-isolation",
}  # fmt: skip
SETS = {"set", "set-full"}
COUNTERS = {"linearizable-counter", "counter", "pn-counter"}

#: kind -> its operations, and who may judge it
KINDS: dict[str, tuple[list[str], set[str]]] = {
    "register": (
        ["op 0 write 1", "op 1 read -> 1", "op 0 write 2", "op 1 read -> 2"],
        REGISTERS | {"monotonic"},
    ),
    "register of repeated values": (
        ["op 0 write 1", "op 1 read -> 1", "op 0 write 1", "op 1 read -> 1"],
        {"register", "cas-register", "key-value", "monotonic", "bounded-staleness"},
    ),
    "registers with keys": (
        ["op 0 write x: 'a'", "op 1 read x: -> 'a'", "op 0 write y: 'b'", "op 1 read y: -> 'b'"],
        REGISTERS,
    ),
    "cas-register": (
        ["op 0 write 3", "op 0 cas [3, 4]", "op 1 read -> 4"],
        {"cas-register", "key-value", "bounded-staleness"},
    ),
    "multi-register": (
        ["op 0 txn [['w', 'x', 1], ['w', 'y', 1]]",
         "op 1 txn [['r', 'x', None], ['r', 'y', None]] -> [['r', 'x', 1], ['r', 'y', 1]]",
         "op 0 txn [['w', 'x', 1]]"],
        {"multi-register"},
    ),
    "mutex": (
        ["op 0 acquire", "op 0 release", "op 1 acquire", "op 1 release"],
        {"mutex", "lock"},
    ),
    "lock with tokens": (
        ["op 0 acquire -> {'token': 1}", "op 0 release", "op 1 acquire -> {'token': 2}",
         "op 1 release"],
        {"mutex", "lock"},
    ),
    "fenced lock": (
        ["op 0 acquire -> {'token': 1}", "op 0 write {'token': 1, 'value': 7}", "op 0 release",
         "op 1 acquire -> {'token': 2}", "op 1 write {'token': 2, 'value': 8}"],
        {"lock"},
    ),
    "election": (
        ["op 0 campaign -> {'token': 1}", "op 0 act {'token': 1, 'value': 7}", "op 0 resign",
         "op 1 campaign -> {'token': 2}", "op 1 act {'token': 2, 'value': 8}"],
        {"election"},
    ),
    "ownership": (
        ["op 0 act a: -> {'partition': 'p', 'epoch': 1, 'group': 'g', 'count': 1}",
         "op 1 act a: -> {'partition': 'p', 'epoch': 2, 'group': 'h', 'count': 2}"],
        {"ownership", "lock"},
    ),
    "lease": (
        ["op 0 grant -> {'ttl_ms': 1}", "op 0 revoke", "op 1 grant -> {'ttl_ms': 1}",
         "op 1 renew -> {'ttl_ms': 1}"],
        {"lease"},
    ),
    "key-value": (
        ["op 0 put x: 'a'", "op 1 get x: -> 'a'", "op 0 append x: 'b'", "op 1 get x: -> 'ab'"],
        {"key-value"},
    ),
    "append-list": (
        ["op 0 append 1", "op 1 read -> [1]", "op 0 append 2", "op 1 read -> [1, 2]"],
        {"append-list", "key-value", "list-append"},
    ),
    "list-append": (
        ["op 0 txn [['append', 'x', 1]]", "op 1 txn [['r', 'x', None]] -> [['r', 'x', [1]]]"],
        {"list-append"},
    ),
    "rw-register": (
        ["op 0 txn [['w', 'x', 1]]", "op 1 txn [['r', 'x', None]] -> [['r', 'x', 1]]"],
        TRANSACTIONS,
    ),
    "bank": (
        ["op 1 read -> {'a': 5, 'b': 5}", "op 0 transfer {'from': 'a', 'to': 'b', 'amount': 2}",
         "op 1 read -> {'a': 3, 'b': 7}"],
        {"bank"},
    ),
    "set": (
        ["op 0 add 1", "op 1 read -> [1]", "op 0 add 2", "op 1 read -> [2, 1]"],
        {*SETS, "linearizable-set", "causal-reverse"},
    ),
    "broadcast": (
        ["op 0 broadcast 1", "op 1 read -> [1]", "op 0 broadcast 2", "op 1 read -> [2, 1]"],
        SETS,
    ),
    "counter": (["op 0 add 1", "op 1 read -> 1", "op 0 add 2", "op 1 read -> 3"], COUNTERS),
    "increments": (
        ["op 0 increment", "op 1 read -> 1", "op 0 decrement", "op 1 read -> 0"],
        COUNTERS,
    ),
    "siblings": (
        ["op 0 store 1 -> {'value': 1, 'over': []}", "op 1 read -> [1]",
         "op 1 store 2 -> {'value': 2, 'over': [1]}", "op 0 read -> [2]",
         "op 0 erase -> {'over': [2]}", "op 1 read -> []"],
        {"siblings"},
    ),
    "set with contains": (
        ["op 0 add 1", "op 1 contains 1 -> True", "op 0 remove 1", "op 1 contains 1 -> False"],
        {"linearizable-set"},
    ),
    "stack": (["op 0 push 1", "op 0 push 2", "op 1 pop -> 2"], {"stack"}),
    "priority-queue": (["op 0 insert 2", "op 0 insert 1", "op 1 extract -> 1"], {"priority-queue"}),
    "queue": (
        ["op 0 enqueue 1", "op 0 enqueue 2", "op 1 dequeue -> 1", "op 1 dequeue -> 2"],
        {"fifo-queue", "unordered-queue", "queue", "total-queue"},
    ),
    "drained queue": (
        ["op 0 enqueue 1", "op 0 enqueue 2", "op 1 dequeue -> 1", "op 1 drain -> [2]"],
        {"queue", "total-queue"},
    ),
    "unique-ids": (["op 0 generate -> 1", "op 1 generate -> 2"], {"unique-ids"}),
    "long-fork": (
        ["op 0 write [['w', 0, 1]]", "op 1 read -> [['r', 0, 1], ['r', 1, None]]",
         "op 2 read -> [['r', 0, 1], ['r', 1, None]]"],
        {*TRANSACTIONS, "long-fork", "convergence"},
    ),
    "causal-reverse": (
        ["op 0 write 1", "op 0 write 2", "op 1 read -> [1, 2]"],
        {"causal-reverse"},
    ),
    "monotonic": (
        ["op 0 inc -> 1", "op 0 inc -> 2", "op 1 read -> 2"],
        {"monotonic", "counter", "pn-counter"},
    ),
    "watch": (
        ["op 0 put x: 'a' -> {'revision': 1}", "op 5 watch {'from': 1} -> [[1, 'x', 'a']]"],
        {"watch"},
    ),
    "log": (
        ["op 0 send l: 'a' -> 0", "op 0 send l: 'b' -> 1", "op 1 poll l: -> [[0, 'a'], [1, 'b']]"],
        {"log"},
    ),
    "several logs": (
        ["op 0 send [['send', 'l', 'a']] -> [['send', 'l', [0, 'a']]]",
         "op 1 poll [['poll']] -> [['poll', {'l': [[0, 'a']]}]]"],
        {"log"},
    ),
    "log transactions": (
        ["op 0 txn [['send', 'l', 'a'], ['poll']] -> "
         "[['send', 'l', [0, 'a']], ['poll', {'l': [[0, 'a']]}]]",
         "op 1 assign ['l']"],
        {"log"},
    ),
    "echo": (["op 0 echo 'hello'", "op 1 echo 'you'"], set()),
    "what nobody knows": (["op 0 fly 1", "op 1 swim -> 2"], set()),
}  # fmt: skip
