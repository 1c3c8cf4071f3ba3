package playground

import (
	"io"
	"os"
	"testing"
)

func TestADoorkeeperAdmitsWhomItWasToldOf(t *testing.T) {
	for admitted := range 2 {
		l := listen(t)
		keeper, err := newDoorkeeper()
		if err != nil {
			t.Fatal(err)
		}
		if admitted == 1 {
			keeper.admit(os.Getpid())
		}
		r := startRelay(l, echo(t), keeper.knows)
		conn := dial(t, l.Addr())
		_, _ = conn.Write([]byte("hello"))
		_ = conn.CloseWrite()
		back, err := io.ReadAll(conn)
		if want := "hello"[:5*admitted]; string(back) != want || isTimeout(err) {
			t.Errorf("admitted %d: back came %q, %v, want %q", admitted, back, err, want)
		}
		r.close()
	}
}
