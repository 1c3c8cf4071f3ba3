package host

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"syscall"
)

// Identity names the server of this data directory among those of its plane. It is the same again when the server is
// started again, so that a server that was killed goes on at once where it left off and does not wait for itself, and it
// is never that of two servers at a time: it is made of the lock that this process holds (its file, as this kernel since
// its start knows it), so a copy of the data directory is another server.
func (d *Dir) Identity() (string, error) {
	name, err := os.Hostname()
	if err != nil {
		name = "cellfed"
	}
	info, err := d.lock.Stat()
	if err != nil {
		return "", fmt.Errorf("finding out the server's identity: %w", err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	file, known := info.Sys().(*syscall.Stat_t)
	if err != nil || !known { // another system: an identity for once
		boot = make([]byte, 16)
		if _, err := rand.Read(boot); err != nil {
			return "", fmt.Errorf("finding out the server's identity: %w", err)
		}
		file = &syscall.Stat_t{}
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", bytes.TrimSpace(boot), file.Dev, file.Ino))
	return name + "_" + hex.EncodeToString(sum[:6]), nil
}
