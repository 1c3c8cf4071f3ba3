package host

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// export puts the keys of a data directory into a file.
func export(t *testing.T, d *Dir) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "keys")
	if err := ExportKeys(d.Path(), out); err != nil {
		t.Fatal(err)
	}
	return out
}

// importInto does what cellfed keys import does.
func importInto(d *Dir, in string) error {
	keys, err := ReadSharedKeys(in)
	if err != nil {
		return err
	}
	return d.Import(keys)
}

func sharedOf(t *testing.T, k Keys) map[string]string {
	t.Helper()
	prints, err := k.Fingerprints()
	if err != nil {
		t.Fatal(err)
	}
	return prints
}

func TestAServerWithImportedKeysIsOfTheSamePlane(t *testing.T) {
	a, b := open(t), open(t)
	first := keys(t, a, start, local)
	if err := importInto(b, export(t, a)); err != nil {
		t.Fatal(err)
	}
	second := keys(t, b, start, local)
	if differ := changed(sharedOf(t, first), sharedOf(t, second)); len(differ) != 0 {
		t.Errorf("these differ: %v", differ)
	}
	verify(t, second.ServingCert, first.ServingCA, x509.ExtKeyUsageServerAuth, start)
	inA, inB := contents(t, a), contents(t, b)
	if inA["encryption.yaml"] != inB["encryption.yaml"] {
		t.Error("the second server encrypts with another key")
	}
	if inA["serving.key"] == inB["serving.key"] || inA["serving.crt"] == inB["serving.crt"] {
		t.Error("two servers have one serving certificate")
	}
}

func TestExportedKeys(t *testing.T) {
	a := open(t)
	keys(t, a, start, local)
	out := export(t, a)
	t.Run("are for their owner only", func(t *testing.T) {
		if info, err := os.Stat(out); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", info.Mode(), err)
		}
	})
	t.Run("overwrite no file", func(t *testing.T) {
		if err := ExportKeys(a.Path(), out); err == nil || !strings.Contains(err.Error(), "is there already") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("may be imported again", func(t *testing.T) {
		before := contents(t, a)
		if err := importInto(a, out); err != nil {
			t.Error(err)
		}
		if differ := changed(before, contents(t, a)); len(differ) != 0 {
			t.Errorf("changed %v", differ)
		}
	})
	t.Run("of nothing are an error that says what to do", func(t *testing.T) {
		if err := ExportKeys(t.TempDir(), filepath.Join(t.TempDir(), "x")); err == nil || !strings.Contains(err.Error(), "start a server there once") {
			t.Errorf("got %v", err)
		}
	})
}

func TestAnImportIsRefused(t *testing.T) {
	a := open(t)
	keys(t, a, start, local)
	out := export(t, a)
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		into func(*Dir)
		file string
		says string
	}{
		"over another plane's keys": {into: func(d *Dir) { keys(t, d, start, local) }, file: string(text), says: "belongs to another plane"},
		"over another plane's keys beside a database": {
			into: func(d *Dir) {
				keys(t, d, start, local)
				if err := os.WriteFile(d.Database(), []byte("old"), 0o600); err != nil {
					t.Fatal(err)
				}
			}, file: string(text), says: "pki away and import again",
		},
		"of another file":                  {file: "apiVersion: v1\nkind: Secret\n", says: "was not written by cellfed keys export"},
		"of a file that lacks a key":       {file: strings.Replace(string(text), "service-account.key", "unknown.key", 1), says: "lacks service-account.key"},
		"of a file of another version":     {file: strings.Replace(string(text), "files:\n", "files:\n  more.key: x\n", 1), says: `has "more.key"`},
		"of a file that is cut in the end": {file: string(text)[:len(text)/3], says: "reading keys"},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			if tt.into != nil {
				tt.into(b)
			}
			in := filepath.Join(t.TempDir(), "keys")
			if err := os.WriteFile(in, []byte(tt.file), 0o600); err != nil {
				t.Fatal(err)
			}
			before := contents(t, b)
			if err := importInto(b, in); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want something with %q", err, tt.says)
			} else if strings.Contains(err.Error(), "BEGIN") {
				t.Errorf("the error shows keys: %v", err)
			}
			if differ := changed(before, contents(t, b)); len(differ) != 0 {
				t.Errorf("changed %v", differ)
			}
		})
	}
}

func TestKeysMayBeImportedBesideADatabaseThatWasRestored(t *testing.T) {
	a, b := open(t), open(t)
	keys(t, a, start, local)
	if err := os.WriteFile(b.Database(), []byte("restored"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Keys(start, local, names); err == nil || !strings.Contains(err.Error(), "cellfed keys import") {
		t.Errorf("without keys, the server is told %v", err)
	}
	if err := importInto(b, export(t, a)); err != nil {
		t.Fatal(err)
	}
	keys(t, b, start, local)
	if inA, inB := contents(t, a), contents(t, b); inA[encryptionFile] != inB[encryptionFile] || inB["state.db"] != "restored" {
		t.Error("the keys are not the exported ones, or the database is not the one that was there")
	}
}

func TestAnEncryptionConfigurationIsReplacedOnlyByOneThatHasAllItsKeys(t *testing.T) {
	a, b := open(t), open(t)
	k := keys(t, a, start, local)
	if err := importInto(b, export(t, a)); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(k.Encryption)
	if err != nil {
		t.Fatal(err)
	}
	more := strings.Replace(string(before), "      keys:\n", "      keys:\n      - {name: next, secret: bmV4dG5leHRuZXh0bmV4dG5leHRuZXh0bmV4dG5leHQ=}\n", 1)
	if err := os.WriteFile(k.Encryption, []byte(more), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := importInto(b, export(t, a)); err != nil {
		t.Errorf("one more key: %v", err)
	}
	if contents(t, b)["encryption.yaml"] != more {
		t.Error("the new key did not arrive")
	}
	if err := os.WriteFile(k.Encryption, before, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := importInto(b, export(t, a)); err == nil || !strings.Contains(err.Error(), "keys of encryption") {
		t.Errorf("a key was taken away: %v", err)
	}
}

func TestTheFingerprintOfAnAuthorityOutlivesItsCertificate(t *testing.T) {
	d := open(t)
	before := sharedOf(t, keys(t, d, start, local))
	old := contents(t, d)["client-ca.crt"]
	after := sharedOf(t, keys(t, d, start.Add(9*365*24*time.Hour+48*time.Hour), local))
	if contents(t, d)["client-ca.crt"] == old {
		t.Fatal("the certificate was not renewed")
	}
	if differ := changed(before, after); len(differ) != 0 || len(before) != 4 {
		t.Errorf("%v differ of %v", differ, before)
	}
}

func TestAServersIdentity(t *testing.T) {
	identity := func(d *Dir) string {
		t.Helper()
		id, err := d.Identity()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	a := open(t)
	before := identity(a)
	t.Run("is the same after a restart", func(t *testing.T) {
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		again, err := OpenDir(a.Path())
		if err != nil {
			t.Fatal(err)
		}
		if now := identity(again); now != before {
			t.Errorf("%s became %s", before, now)
		}
		*a = *again
	})
	t.Run("is another one in a copy of the data directory", func(t *testing.T) {
		copied := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(copied, os.DirFS(a.Path())); err != nil {
			t.Fatal(err)
		}
		b, err := OpenDir(copied)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if now := identity(b); now == before {
			t.Errorf("both are %s", now)
		}
	})
}
