"""Reports as etcd's robustness tests write them, made by a small store of our own.

A :class:`Lab` runs random requests of several clients one after another against a store, gives
them overlapping times, and writes what clients and watchers were told. The faults that tests plant
are changes of what was told.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def request(kind: str, **parts: Any) -> Json:
    empty = dict.fromkeys(("LeaseGrant", "LeaseRevoke", "Range", "Txn", "Defragment", "Compact"))
    return {"Type": kind, **empty, **parts}


def step(kind: str, key: str, value: str = "", lease: int = 0) -> Json:
    blank: Json = {
        "Type": f"{kind}-operation", "Range": {"Start": "", "End": "", "Limit": 0},
        "Put": {"Key": "", "Value": {}, "LeaseID": 0}, "Delete": {"Key": ""},
    }  # fmt: skip
    if kind == "put":
        blank["Put"] = {"Key": key, "Value": {"Value": value}, "LeaseID": lease}
    elif kind == "delete":
        blank["Delete"] = {"Key": key}
    else:
        blank["Range"] = {"Start": key, "End": "", "Limit": 0}
    return blank


def txn(then: list[Json], conditions: list[Json] | None = None, other: Any = None) -> Json:
    body = {"Conditions": conditions, "OperationsOnSuccess": then, "OperationsOnFailure": other}
    return request("txn", Txn=body)


class Store:
    """etcd's store: keys with value, modification revision, version and lease."""

    def __init__(self) -> None:
        self.revision = 1
        self.keys: dict[str, list[Any]] = {}
        self.events: list[Json] = []
        self.past: dict[int, dict[str, list[Any]]] = {1: {}}

    def kvs(self, keys: dict[str, list[Any]], start: str, end: str) -> list[Json]:
        return [
            {"Key": k, "Value": {"Value": v}, "ModRevision": mod, "Version": version}
            for k, (v, mod, version, _) in sorted(keys.items())
            if (k == start if not end else start <= k < end)
        ]

    def _event(self, kind: str, key: str, value: str) -> None:
        told: Json = {"Type": f"{kind}-operation", "Key": key, "Revision": self.revision + 1}
        self.events.append(told | ({"Value": {"Value": value}} if kind == "put" else {"Value": {}}))

    def answer(self, asked: Json) -> Json:
        told: Json = dict.fromkeys(("Txn", "Range", "LeaseGrant", "LeaseRevoke", "Defragment"))
        if asked["Type"] == "range":
            at = asked["Range"].get("Revision", 0)
            keys = self.past[at] if at else self.keys
            kvs = self.kvs(keys, asked["Range"]["Start"], asked["Range"]["End"])
            told["Range"] = {"KVs": kvs, "Count": len(kvs)}
        elif asked["Type"] == "txn":
            told["Txn"] = self._txn(asked["Txn"])
        elif asked["Type"] == "leaseGrant":
            told["LeaseGrant"] = {"LeaseID": asked["LeaseGrant"]["LeaseID"]}
        elif asked["Type"] == "leaseRevoke":
            told["LeaseRevoke"] = {}
            lease = asked["LeaseRevoke"]["LeaseID"]
            gone = [key for key, kept in self.keys.items() if kept[3] == lease]
            for key in gone:
                del self.keys[key]
                self._event("delete", key, "")
            self._changed(bool(gone))
        told["Revision"] = -1 if asked["Type"] == "defragment" else self.revision
        return told | {"PartialResponse": False, "Error": ""}

    def _changed(self, changed: bool) -> None:
        if changed:
            self.revision += 1
            self.past[self.revision] = {key: list(kept) for key, kept in self.keys.items()}

    def _txn(self, asked: Json) -> Json:
        blank = ["", 0, 0, 0]
        failed = any(
            self.keys.get(c["Key"], blank)[1] != c["ExpectedRevision"]
            for c in asked["Conditions"] or []
        )
        results, changed = [], False
        for one in asked["OperationsOnFailure" if failed else "OperationsOnSuccess"] or []:
            result: Json = {"KVs": None, "Count": 0, "Deleted": 0}
            if one["Type"] == "put-operation":
                key, value = one["Put"]["Key"], one["Put"]["Value"]["Value"]
                version = self.keys.get(key, blank)[2] + 1
                self.keys[key] = [value, self.revision + 1, version, one["Put"]["LeaseID"]]
                self._event("put", key, value)
                changed = True
            elif one["Type"] == "delete-operation":
                if self.keys.pop(one["Delete"]["Key"], None):
                    self._event("delete", one["Delete"]["Key"], "")
                    result["Deleted"] = 1
                    changed = True
            else:
                result["KVs"] = self.kvs(self.keys, one["Range"]["Start"], "")
                result["Count"] = len(result["KVs"])
            results.append(result)
        self._changed(changed)
        return {"Failure": failed, "Results": results}


class Lab:
    """A run of a few clients; ``operations`` and ``watches`` may be changed before writing."""

    def __init__(self, seed: int, count: int = 40, clients: int = 3) -> None:
        self.random = random.Random(seed)
        self.store = Store()
        self.operations: list[Json] = []
        self.watches: list[Json] = []
        self.free = dict.fromkeys(range(1, clients + 1), 0)
        self.stream = clients
        self.leased = False
        for number in range(count):
            self._one(number)
        self.end = 1000 * (count + 20)
        self.watches.append(self._watch("k", 2, 1))

    def _one(self, number: int) -> None:
        at = 1000 * (number + 1)
        client = self.random.choice([c for c, free in self.free.items() if free < at] or [0])
        if not client:
            return
        asked = self._request(number)
        told = self.store.answer(asked)
        call = max(self.free[client] + 1, at - self.random.randrange(1500))
        end = at + self.random.randrange(1, 1500)
        folder = client
        if asked["Type"] != "range" and self.random.random() < 0.1:
            told = {"Error": "timed out", "Revision": 0}
            del self.free[client]
            self.stream += 1
            self.free[self.stream] = end
        else:
            self.free[client] = end
        self.operations.append(
            {"ClientId": folder, "Input": asked, "Call": call, "Output": told, "Return": end}
        )

    def _request(self, number: int) -> Json:
        key = self.random.choice(("k1", "k2", "k3"))
        kind = self.random.randrange(10)
        if kind < 3:
            past = self.random.random() < 0.2
            revision = self.random.randint(1, self.store.revision) if past else 0
            body = {"Start": key, "End": "", "Limit": 0, "Revision": revision}
            if kind == 0:
                body = {"Start": "k", "End": "l", "Limit": 0, "Revision": revision}
            return request("range", Range=body)
        if kind < 6:
            return txn([step("put", key, f"v{number}", 7 if kind == 5 and self.leased else 0)])
        if kind == 6:
            return txn([step("delete", key)])
        if kind == 7 and self.leased:
            self.leased = False
            return request("leaseRevoke", LeaseRevoke={"LeaseID": 7})
        if kind == 7:
            self.leased = True
            return request("leaseGrant", LeaseGrant={"LeaseID": 7})
        if kind == 8:
            return request("defragment", Defragment={})
        has = self.store.keys.get(key, ["", 0, 0, 0])[1] + self.random.choice((0, 0, 1))
        then = [step("put", key, f"t{number}"), step("put", "k9", f"u{number}")]
        when = [{"Key": key, "ExpectedRevision": has, "ExpectedVersion": 0}]
        return txn(then, when, [step("range", key)])

    def _watch(self, prefix: str, revision: int, size: int) -> Json:
        """A watcher of all keys that is told some events at a time, at the end of the run.

        The events of one revision come together, as etcd promises.
        """
        left = [event for event in self.store.events if event["Revision"] >= revision]
        responses = []
        number = 0
        while number < len(left):
            last = left[min(number + size, len(left)) - 1]["Revision"]
            events = [event for event in left[number:] if event["Revision"] <= last]
            number += len(events)
            time = self.end + number
            responses.append({"Events": events, "Revision": events[-1]["Revision"], "Time": time})
        told = {"IsProgressNotify": True, "Revision": self.store.revision}
        responses.append({**told, "Time": self.end + len(left) + 1})
        asked = {"Key": prefix, "Revision": revision, "WithPrefix": True}
        return {"Request": asked, "Responses": responses}

    def write(self, folder: Path) -> Path:
        """Write the report as etcd's tests do; returns its folder."""
        files: dict[tuple[int, str], list[Json]] = {}
        for operation in self.operations:
            files.setdefault((operation["ClientId"] % 3 + 1, "operations.json"), []).append(
                {**operation, "Metadata": operation["Output"]}
            )
        files[9, "watch.json"] = self.watches
        for (client, name), objects in files.items():
            where = folder / f"client-{client}" / name
            where.parent.mkdir(parents=True, exist_ok=True)
            where.write_text("".join(json.dumps(found, indent=2) + "\n" for found in objects))
        return folder
