package window

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
)

func TestAWindowIsBelievedWithinReason(t *testing.T) {
	for said, want := range map[string]int64{"1048576": 1 << 20, "": 0, "0": 0, "-5": 0, "much": 0, "99999999999999": most, "99999999999999999999999": 0} {
		if got := Of(metadata.Pairs(Header, said)); got != want {
			t.Errorf("%q is taken for %d", said, got)
		}
	}
	if Of(metadata.MD{}) != 0 || Of(metadata.Pairs(Header, "1", Header, "2")) != 0 {
		t.Error("none or two are taken for one")
	}
}

func TestWhatWasTakenIsToldAcrossTheWire(t *testing.T) {
	raw, err := proto.Marshal(Taken(42, 300000))
	if err != nil {
		t.Fatal(err)
	}
	p := &client.Packet{}
	if err := proto.Unmarshal(raw, p); err != nil {
		t.Fatal(err)
	}
	if id, n, ok := Told(p); id != 42 || n != 300000 || !ok {
		t.Errorf("it arrives as %d bytes of %d: %t", n, id, ok)
	}
	if _, _, ok := Told(&client.Packet{Type: client.PacketType_DATA}); ok {
		t.Error("data is taken for it")
	}
	for _, bad := range [][]byte{nil, {0x80}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}} {
		p.GetData().Data = bad
		if _, n, _ := Told(p); n != 0 {
			t.Errorf("%x gives %d bytes", bad, n)
		}
	}
}

func TestNeverMoreIsUnderWayThanTheWindow(t *testing.T) {
	const window, all = 1000, 100_000
	credit, debt := NewCredit(window), &Debt{Window: window}
	wire := make(chan int, window)
	go func() {
		defer close(wire)
		for left := all; left > 0; {
			n := credit.Spend(min(left, 1+rand.IntN(3*window)), nil, nil)
			left -= n
			wire <- n
		}
	}()
	got, told := 0, int64(0)
	for n := range wire {
		if got += n; int64(got)-told > window {
			t.Fatalf("%d bytes are under way", int64(got)-told)
		}
		if due := debt.Add(n); due > 0 {
			told += due
			credit.Give(due)
		}
	}
	if got != all {
		t.Errorf("%d of %d bytes came", got, all)
	}
}

func TestSeveralWritersShareACredit(t *testing.T) {
	credit := NewCredit(10)
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			for sent := 0; sent < 100; {
				sent += credit.Spend(100-sent, nil, nil)
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	for end := time.After(time.Minute); ; {
		credit.Give(7)
		select {
		case <-done:
			return
		case <-end:
			t.Fatal("a writer waits for ever")
		case <-time.After(10 * time.Microsecond):
		}
	}
}

func TestWhoWaitsIsLetGo(t *testing.T) {
	credit := NewCredit(1)
	credit.Spend(1, nil, nil)
	closed := make(chan struct{})
	close(closed)
	if n := credit.Spend(1, closed, nil); n != 0 {
		t.Errorf("%d after the end", n)
	}
	if n := credit.Spend(1, nil, closed); n != 0 {
		t.Errorf("%d after the stop", n)
	}
	credit.Give(1 << 40)
	if n := credit.Spend(5, nil, nil); n != 1 {
		t.Errorf("a liar gets %d", n)
	}
}

func TestWithoutAWindowThereIsNoLimit(t *testing.T) {
	none := NewCredit(0)
	none.Give(5)
	if n := none.Spend(1<<30, nil, nil); n != 1<<30 {
		t.Errorf("only %d", n)
	}
	if due := (&Debt{}).Add(1 << 30); due != 0 {
		t.Errorf("%d is told to one who knows no windows", due)
	}
}
