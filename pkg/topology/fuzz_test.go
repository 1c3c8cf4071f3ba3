package topology_test

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/cellfed/cellfed/pkg/topology"
	"github.com/cellfed/cellfed/test/conversion/objects"
)

// FuzzRoundTripOfShapedObjects sends objects of both forms, made from the fuzzer's bytes, there and back.
func FuzzRoundTripOfShapedObjects(f *testing.F) {
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		if problem := roundTripsOf(data); problem != "" {
			t.Error(problem)
		}
	})
}

// FuzzRoundTripOfRawJSON sends whatever JSON object the fuzzer finds there and back, from either form.
func FuzzRoundTripOfRawJSON(f *testing.F) {
	for _, tc := range pairs {
		for _, body := range []string{tc.cluster, tc.topology} {
			raw, err := json.Marshal(jsonOf(f, body))
			if err != nil {
				f.Fatal(err)
			}
			f.Add(raw)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var obj map[string]any
		if json.Unmarshal(raw, &obj) != nil || obj == nil {
			return
		}
		if problem := rawRoundTrips(obj); problem != "" {
			t.Error(problem)
		}
	})
}

// TestRandomObjectsGoBothWaysRound is the quick part of the fuzzing that every run does. CELLFED_EXECS asks for more.
func TestRandomObjectsGoBothWaysRound(t *testing.T) {
	execs := 20_000
	if s := os.Getenv("CELLFED_EXECS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("CELLFED_EXECS: %v", err)
		}
		execs = n
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	data := make([]byte, 160)
	for i := range execs {
		for j := range data {
			data[j] = byte(random.Uint32())
		}
		if problem := roundTripsOf(data[:random.IntN(len(data))]); problem != "" {
			t.Fatalf("seed %d, object %d: %s", seed, i, problem)
		}
	}
	t.Logf("%d objects of either form went there and back, seed %d", execs, seed)
}

func roundTripsOf(data []byte) string {
	if problem := roundTrip(objects.Generate(data, objects.Cluster, objects.Options{}), topology.ToTopologyForm, topology.ToClusterForm); problem != "" {
		return "from cluster form: " + problem
	}
	if problem := roundTrip(objects.Generate(data, objects.Topology, objects.Options{}), topology.ToClusterForm, topology.ToTopologyForm); problem != "" {
		return "from topology form: " + problem
	}
	return ""
}

func rawRoundTrips(obj map[string]any) string {
	// An object of one form never says that it is of the other: the API server converts only between versions.
	obj["apiVersion"] = "types.kubefed.io/v1beta1"
	if problem := roundTrip(obj, topology.ToTopologyForm, topology.ToClusterForm); problem != "" {
		return "from cluster form: " + problem
	}
	obj["apiVersion"] = "types.kubefed.io/v2beta1"
	if problem := roundTrip(obj, topology.ToClusterForm, topology.ToTopologyForm); problem != "" {
		return "from topology form: " + problem
	}
	return ""
}
