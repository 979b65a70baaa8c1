"""Goal: a report of etcd's robustness tests is one history, and what etcd did wrong is found.

Method: reports made by a store of our own, which are right; the same with one answer changed; and
files that are no such report.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from etcd_reports import Lab, request, step, txn

from checkers import Verdict
from checkers.check_files import check_files
from checkers.history import HistoryError, load, recognise
from checkers.judges.etcd import etcd

Json = dict[str, Any]


@pytest.mark.parametrize("seed", range(12))
def test_what_a_right_store_did_is_valid(tmp_path: Path, seed: int) -> None:
    history = load(Lab(seed, 60).write(tmp_path))
    result = etcd()(history)
    assert result.verdict is Verdict.VALID, result.reason
    assert {part.checker for part in result.parts} == {"etcd requests", "watch"}


def acknowledged(lab: Lab, *kinds: str) -> list[Json]:
    """Operations that were answered, of these types, the later ones first."""
    return [
        op for op in reversed(lab.operations)
        if op["Input"]["Type"] in kinds and not op["Output"].get("Error")
    ]  # fmt: skip


def reads(lab: Lab) -> list[Json]:
    return [
        op for op in acknowledged(lab, "range")
        if op["Output"]["Range"]["KVs"] and not op["Input"]["Range"]["Revision"]
    ]  # fmt: skip


def puts(lab: Lab) -> list[Json]:
    return [
        op for op in acknowledged(lab, "txn")
        if [s["Type"] for s in op["Input"]["Txn"]["OperationsOnSuccess"]] == ["put-operation"]
        and not op["Input"]["Txn"]["Conditions"]
    ]  # fmt: skip


def put_value(op: Json) -> str:
    value: str = op["Input"]["Txn"]["OperationsOnSuccess"][0]["Put"]["Value"]["Value"]
    return value


def stale_read(lab: Lab) -> None:
    op = reads(lab)[0]
    op["Output"]["Range"] = {"KVs": [], "Count": 0}
    op["Output"]["Revision"] = 1


def wrong_value(lab: Lab) -> None:
    reads(lab)[0]["Output"]["Range"]["KVs"][0]["Value"]["Value"] = "other"


def wrong_modification(lab: Lab) -> None:
    reads(lab)[0]["Output"]["Range"]["KVs"][0]["ModRevision"] -= 1


def wrong_version(lab: Lab) -> None:
    reads(lab)[0]["Output"]["Range"]["KVs"][0]["Version"] += 1


def lost_put(lab: Lab) -> None:
    read = {kv["Value"]["Value"] for op in reads(lab) for kv in op["Output"]["Range"]["KVs"]}
    op = next(op for op in puts(lab) if put_value(op) in read)
    op["Input"] = txn([step("put", "k1", "never seen")])


def revision_twice(lab: Lab) -> None:
    puts(lab)[0]["Output"]["Revision"] -= 1


def failed_though_it_holds(lab: Lab) -> None:
    op = next(o for o in acknowledged(lab, "txn") if o["Input"]["Txn"]["Conditions"])
    op["Output"]["Txn"]["Failure"] = not op["Output"]["Txn"]["Failure"]


def missed_event(lab: Lab) -> None:
    written = {put_value(op) for op in puts(lab)}
    responses = lab.watches[0]["Responses"]
    told = [r["Events"][0]["Value"].get("Value") if r.get("Events") else None for r in responses]
    del responses[next(at for at, value in enumerate(told) if value in written)]


def event_twice(lab: Lab) -> None:
    responses = lab.watches[0]["Responses"]
    responses.insert(4, {**responses[3], "Time": responses[3]["Time"]})


def events_swapped(lab: Lab) -> None:
    responses = lab.watches[0]["Responses"]
    responses[2]["Events"], responses[4]["Events"] = responses[4]["Events"], responses[2]["Events"]


def event_never_written(lab: Lab) -> None:
    for response in lab.watches[0]["Responses"]:
        for event in response.get("Events", []):
            if event["Type"] == "put-operation":
                event["Value"]["Value"] = "x" + event["Value"]["Value"]


def past_that_was_not(lab: Lab) -> None:
    lab.operations.append(
        {"ClientId": 90, "Call": lab.end, "Return": lab.end + 1,
         "Input": request("range", Range={"Start": "zz", "End": "", "Limit": 0, "Revision": 2}),
         "Output": {"Range": {"KVs": [{"Key": "zz", "Value": {"Value": "?"}, "ModRevision": 2,
                                       "Version": 1}], "Count": 1}, "Revision": 9, "Error": ""}}
    )  # fmt: skip


FAULTS: list[Callable[[Lab], None]] = [
    stale_read, wrong_value, wrong_modification, wrong_version, lost_put, revision_twice,
    failed_though_it_holds, missed_event, event_twice, events_swapped, event_never_written,
    past_that_was_not,
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("seed", [1, 3, 8])
def test_each_fault_is_found(tmp_path: Path, fault: Callable[[Lab], None], seed: int) -> None:
    lab = Lab(seed, 60)
    fault(lab)
    found = check_files([lab.write(tmp_path)])
    assert [result.verdict for result in found] == [Verdict.INVALID], found
    assert found[0].format == "etcd-report" and found[0].result is not None
    for finding in found[0].result.all_findings():
        assert finding.ops and finding.sentence


def test_a_report_is_found_in_a_folder_and_a_file_alone_is_read(tmp_path: Path) -> None:
    report = Lab(5, 30).write(tmp_path / "runs" / "report")
    (tmp_path / "runs" / "notes.md").write_text("what happened\n")
    found = {Path(result.path).name: result.verdict for result in check_files([tmp_path])}
    assert found == {"report": Verdict.VALID, "notes.md": None}
    file = report / "client-1" / "operations.json"
    assert recognise(file) == recognise(report / "client-9" / "watch.json") == "etcd-report"
    assert any("one file of a report" in note for note in load(file).notes)
    with pytest.raises(HistoryError, match="a folder of files and no history"):
        load(tmp_path)


def test_values_are_compared_as_their_hashes(tmp_path: Path) -> None:
    """A transaction has a long value as it is; what is read has its hash."""
    lab = Lab(0, 0)
    value = "a value of more than 20 bytes"
    hashed = 2166136261
    for byte in value.encode():
        hashed = ((hashed ^ byte) * 16777619) % 2**32
    told = {"Txn": {"Failure": False, "Results": [{}]}, "Revision": 2}
    kvs = [{"Key": "a", "Value": {"Hash": hashed}, "ModRevision": 2, "Version": 1}]
    lab.operations = [
        {"ClientId": 1, "Input": txn([step("put", "a", value)]), "Call": 1, "Output": told,
         "Return": 2},
        {"ClientId": 1, "Input": request("range", Range={"Start": "a", "End": ""}), "Call": 3,
         "Output": {"Range": {"KVs": kvs, "Count": 1}, "Revision": 2}, "Return": 4},
    ]  # fmt: skip
    assert etcd()(load(lab.write(tmp_path))).verdict is Verdict.VALID
    kvs[0]["Value"] = {"Hash": hashed + 1}
    assert etcd()(load(lab.write(tmp_path))).verdict is Verdict.INVALID


OPERATION = json.dumps(
    {"ClientId": 1, "Input": request("defragment"), "Call": 5, "Output": {}, "Return": 6}
)
WRONG = {
    "no JSON": (OPERATION + "\n{]\n" + OPERATION, "line 2: bad JSON"),
    "a number as type": (
        OPERATION.replace('"defragment"', "7"), "object 1: no operation of etcd's tests"),
    "unknown type": (OPERATION.replace('"defragment"', '"fly"'), "'fly' is no request"),
    "lacks its part": (OPERATION.replace('"defragment"', '"txn"'), "'txn' is no request"),
    "back in time": (OPERATION.replace('"Return": 6', '"Return": 1'), "before its call"),
    "two at a time": (OPERATION + "\n" + OPERATION, "is still open"),
    "NaN": (OPERATION.replace('"Call": 5', '"Call": NaN'), "NaN is no number"),
    "deep": ('{"ClientId":1,"Input":' + "[" * 99999, "bad JSON"),
    "time of 99 digits": (OPERATION.replace('"Return": 6', '"Return": ' + "9" * 99), "operation"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_report_is_one_sentence(tmp_path: Path, name: str) -> None:
    text, sentence = WRONG[name]
    (tmp_path / "client-1").mkdir()
    (tmp_path / "client-1" / "operations.json").write_text(text)
    with pytest.raises(HistoryError) as caught:
        load(tmp_path)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)
    assert "client-1/operations.json" in caught.value.place


def test_a_cut_file_of_a_report_is_judged_as_far_as_it_goes(tmp_path: Path) -> None:
    (tmp_path / "client-1").mkdir()
    file = tmp_path / "client-1" / "operations.json"
    file.write_text(OPERATION + "\n" + OPERATION.replace("5", "7")[:-9])
    history = load(tmp_path)
    assert history.op_count == 1 and any("is cut" in note for note in history.notes)


def test_clients_that_use_the_same_number_are_two(tmp_path: Path) -> None:
    for client in ("client-1", "client-2"):
        (tmp_path / client).mkdir()
        (tmp_path / client / "operations.json").write_text(OPERATION)
    assert load(tmp_path).processes == ["client-1 number 1", "client-2 number 1"]
