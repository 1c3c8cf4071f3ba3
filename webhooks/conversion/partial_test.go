package conversion

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/cellfed/cellfed/test/conversion/objects"
)

// manyKeys is an entry that is too large to be kept as one, with a key that comes twice.
const manyKeys = `{"name":"a.acme.cell","k1":1,"k2":1,"k3":1,"k4":1,"k5":1,"k6":1,"k7":1,"k8":1,"k9":1,"k10":1,"k11":1,"k12":1,"k13":1,"k14":1,"k15":1,"k16":1,"k17":1,"k1":2}`

func TestALargeEntryConvertsLikeASmallOne(t *testing.T) {
	out, err := forms.convert(nil, `{"apiVersion":"g.io/v1beta1","metadata":{"namespace":"acme"},"spec":{"topologyType":"cell"},"status":{"clusters":[{"name":"b.acme.cell"},`+
		manyKeys+`,{"name":"c.acme.cell"}]}}`, "g.io/v2beta1")
	if err != nil {
		t.Fatal(err)
	}
	want := `{"apiVersion":"g.io/v2beta1","metadata":{"namespace":"acme"},"spec":{"topologyType":"cell"},"status":{"topologies":[{"name":"b"},` +
		strings.Replace(manyKeys, "a.acme.cell", "a", 1) + `,{"name":"c"}]}}`
	if !sameJSON(t, []byte(want), out) {
		t.Errorf("it became %s", out)
	}
}

// FuzzPartialDecoding holds the decoder against encoding/json: the same bytes are JSON to both, and after decoding and
// encoding, whatever the shape, they mean the same.
func FuzzPartialDecoding(f *testing.F) {
	for _, s := range []string{
		`{}`, `[]`, `null`, `{"spec":{"placement":{"clusters":[{"name":"a.b.cell"}]}}}`, ` { "a" : [ 1 , -0.5e+3 , true ] } `,
		`{"status":{"clusters":[{"name":"\u00e9\ud83d\ude00\ud800"}]}}`, `{"metadata":{"namespace":"a","namespace":"b"}}`,
		`{"a":01}`, `{"a":1.}`, `{"a":-}`, `{"a":"\x"}`, "{\"a\":\"\x01\"}", "{\"a\":\"\xff\"}", `{"a":1}}`, `{"a"}`, `{"a":}`, `[1,]`, `{,}`, `tru`, `"`, ``,
		`{"spec":{"overrides":[{"clusterName":"a","clusterName":"b","x":1,"x":2},{},[],{"clusterName":7,"clusterName":"b.c.d"}]}}`,
		`{"status":{"clusters":[` + manyKeys + `]}}`, `{"status":{"clusters":[{"name":"a"` + "\n" + `,"name" : null}` + `]}}`,
		"\x00", "{\"a\":1\x00}", `{"a":1e5,"b":1E-5}`, strings.Repeat("[", 20000),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for name, s := range map[string]*shape{"nothing": nil, "an object": federatedObject, "everything": everything} {
			v, err := decode(string(data), s)
			if valid := json.Valid(data); valid != (err == nil) {
				t.Fatalf("decoding %s: encoding/json says valid %v, we say %v: %q", name, valid, err, data)
			}
			if err != nil {
				continue
			}
			encoded := encode(nil, v)
			var want, got any
			if err := json.Unmarshal(data, &want); err != nil {
				continue // a number out of range: not for us to judge
			}
			if err := json.Unmarshal(encoded, &got); err != nil {
				t.Fatalf("decoding %s: what we encode is no JSON: %v: %q", name, err, encoded)
			}
			if !reflect.DeepEqual(want, got) {
				t.Fatalf("decoding %s: %q became %q", name, data, encoded)
			}
		}
	})
}

// FuzzPartialConversion holds the law over partly decoded objects against the law over whole ones.
func FuzzPartialConversion(f *testing.F) {
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, data []byte) { checkPartialConversion(t, data) })
}

func TestPartlyDecodedObjectsConvertLikeWholeOnes(t *testing.T) {
	data := make([]byte, 160)
	for i := range 3000 {
		for j := range data {
			data[j] = byte((i*7919 + j*104729) >> (j % 7))
		}
		checkPartialConversion(t, data)
	}
}

func checkPartialConversion(t *testing.T, data []byte) {
	t.Helper()
	for from, to := range map[*objects.Form]string{&objects.Cluster: "v2beta1", &objects.Topology: "v1beta1"} {
		encoded, err := json.Marshal(objects.Generate(data, *from, objects.Options{}))
		if err != nil {
			t.Fatal(err)
		}
		got, err := forms.convert(nil, string(encoded), "types.kubefed.io/"+to)
		if err != nil {
			t.Fatalf("%s does not convert: %v", encoded, err)
		}
		var whole map[string]any
		if err := json.Unmarshal(encoded, &whole); err != nil {
			t.Fatal(err)
		}
		forms[way{from.Version, to}](whole)
		want, err := json.Marshal(whole)
		if err != nil {
			t.Fatal(err)
		}
		if !sameJSON(t, want, got) {
			t.Fatalf("converting\n%s\ngives\n%s\nwant\n%s", encoded, got, want)
		}
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal(a, &x); err != nil {
		t.Fatalf("%v: %s", err, a)
	}
	if err := json.Unmarshal(b, &y); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return reflect.DeepEqual(x, y)
}

func TestWhatConversionDoesNotTouchStaysAsItWasWritten(t *testing.T) {
	template := `{ "z":1.50, "a":9007199254740993,  "clusters":"é" }`
	in := `{"apiVersion":"types.kubefed.io/v1beta1","spec":{"template":` + template + `}}`
	out, err := forms.convert(nil, in, "types.kubefed.io/v2beta1")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(out, []byte(template)) {
		t.Errorf("the template became %s", out)
	}
}

func TestAPanicInTheLawIsToldForThatObjectAlone(t *testing.T) {
	broken := law{{"v1beta1", "v2beta1"}: func(map[string]any) { panic("a fault of ours") }}
	_, err := broken.convert(nil, `{"apiVersion":"g.io/v1beta1"}`, "g.io/v2beta1")
	if err == nil || !strings.Contains(err.Error(), "a fault of ours") {
		t.Errorf("the error is %v", err)
	}
}
