// Driver for bench/linearizability.py: checks histories with Porcupine and prints how long it took.
//
// Input (stdin): one JSON object per line, a history each:
// {"name", "model": "register"|"key-value", "timeout_s", "events": [[call, id, key, f, a, b, out, outcome], ...]}
// with call 1 or 0, f "read"|"write"|"cas"|"get"|"put"|"append", a and b the arguments, out the result,
// outcome 1 (ok), 0 (failed, as an observation) or 2 (unknown). Values are strings; "" is absent.
//
// Output: one line per history: name, verdict (true, false, unknown), nanoseconds of checking.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"os"
	"reflect"
	"time"

	"github.com/anishathalye/porcupine"
)

type input struct{ f, key, a, b string }

type output struct {
	value   string
	outcome int
}

type history struct {
	Name     string          `json:"name"`
	Model    string          `json:"model"`
	TimeoutS float64         `json:"timeout_s"`
	Events   [][]interface{} `json:"events"`
}

func step(state, in, out interface{}) (bool, interface{}) {
	held, op, result := state.(string), in.(input), out.(output)
	switch op.f {
	case "read", "get":
		return result.outcome == 2 || held == result.value, held
	case "write", "put":
		return true, op.a
	case "append":
		return true, held + op.a
	}
	swapped := held == op.a
	next := held
	if swapped {
		next = op.b
	}
	return result.outcome == 2 || swapped == (result.outcome == 1), next
}

func byKey(events []porcupine.Event) [][]porcupine.Event {
	places := map[string]int{}
	keyOf := map[int]string{}
	var groups [][]porcupine.Event
	for _, event := range events {
		if event.Kind == porcupine.CallEvent {
			keyOf[event.Id] = event.Value.(input).key
		}
		key := keyOf[event.Id]
		place, known := places[key]
		if !known {
			place = len(groups)
			places[key] = place
			groups = append(groups, nil)
		}
		groups[place] = append(groups[place], event)
	}
	return groups
}

func text(value interface{}) string {
	if value == nil {
		return ""
	}
	return value.(string)
}

func hash(state interface{}) uint64 {
	h := fnv.New64a()
	h.Write([]byte(state.(string)))
	return h.Sum64()
}

func main() {
	model := porcupine.Model{
		PartitionEvent: byKey,
		Init:           func() interface{} { return "" },
		Step:           step,
	}
	// Versions since 2026 look states up by a hash, which makes the key-value histories ten times as fast.
	if field := reflect.ValueOf(&model).Elem().FieldByName("Hash"); field.IsValid() {
		field.Set(reflect.ValueOf(hash))
	}
	reader := bufio.NewReaderSize(os.Stdin, 1<<20)
	decoder := json.NewDecoder(reader)
	for decoder.More() {
		var h history
		if err := decoder.Decode(&h); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		events := make([]porcupine.Event, 0, len(h.Events))
		for _, row := range h.Events {
			event := porcupine.Event{Id: int(row[1].(float64))}
			if row[0].(float64) == 1 {
				event.Kind = porcupine.CallEvent
				event.Value = input{f: text(row[3]), key: text(row[2]), a: text(row[4]), b: text(row[5])}
			} else {
				event.Kind = porcupine.ReturnEvent
				event.Value = output{value: text(row[6]), outcome: int(row[7].(float64))}
			}
			events = append(events, event)
		}
		started := time.Now()
		result := porcupine.CheckEventsTimeout(model, events, time.Duration(h.TimeoutS*1e9))
		took := time.Since(started)
		verdict := map[porcupine.CheckResult]string{
			porcupine.Ok: "true", porcupine.Illegal: "false", porcupine.Unknown: "unknown",
		}[result]
		fmt.Printf("%s %s %d\n", h.Name, verdict, took.Nanoseconds())
	}
}
