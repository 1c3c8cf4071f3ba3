package host

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func vault(name string) *KMS {
	return &KMS{Name: name, Endpoint: "unix:///run/" + name + ".sock", Timeout: 3 * time.Second}
}

// providers are what a directory encrypts with, in order.
func providers(t *testing.T, d *Dir) []string {
	t.Helper()
	e := read(t, d)
	var names []string
	for _, p := range e.config.Resources[0].Providers {
		names = append(names, describe(p, 0)...)
	}
	return names
}

func read(t *testing.T, d *Dir) *Encryption {
	t.Helper()
	e, err := ReadEncryption(d.Path())
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// change does to a directory's configuration what a command does.
func change(t *testing.T, d *Dir, f func(*Encryption) error) {
	t.Helper()
	if err := ChangeEncryption(d.Path(), f); err != nil {
		t.Fatal(err)
	}
}

func addKey(t *testing.T, d *Dir, prepared bool) (name string) {
	t.Helper()
	change(t, d, func(e *Encryption) (err error) {
		name, err = e.AddKey(prepared)
		return err
	})
	return name
}

func prune(t *testing.T, d *Dir) (removed []string) {
	t.Helper()
	removed, err := PruneEncryption(d.Path(), read(t, d))
	if err != nil {
		t.Fatal(err)
	}
	return removed
}

func with(t *testing.T, d *Dir, kms *KMS) {
	t.Helper()
	if err := d.EncryptWith(kms); err != nil {
		t.Fatal(err)
	}
}

func TestNothingBecomesUnreadableWhen(t *testing.T) {
	for name, tc := range map[string]struct {
		lives []*KMS
		want  []string
	}{
		"there is a local key only":           {[]*KMS{nil, nil}, []string{"LOCAL"}},
		"a KMS comes":                         {[]*KMS{nil, vault("a")}, []string{"KMS a", "LOCAL"}},
		"a KMS is there from the start":       {[]*KMS{vault("a")}, []string{"KMS a", "LOCAL"}},
		"it goes again":                       {[]*KMS{nil, vault("a"), nil}, []string{"LOCAL", "KMS a"}},
		"it comes back":                       {[]*KMS{nil, vault("a"), nil, vault("a")}, []string{"KMS a", "LOCAL"}},
		"another one follows it":              {[]*KMS{vault("a"), vault("b")}, []string{"KMS b", "KMS a", "LOCAL"}},
		"the first one comes back after both": {[]*KMS{vault("a"), vault("b"), vault("a")}, []string{"KMS a", "KMS b", "LOCAL"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t)
			keys(t, d, start, local)
			key := providers(t, d)[0]
			for _, kms := range tc.lives {
				with(t, d, kms)
				with(t, d, kms) // a second start changes nothing
			}
			want := strings.Split(strings.ReplaceAll(strings.Join(tc.want, "|"), "LOCAL", key), "|")
			if got := providers(t, d); !slices.Equal(got, want) {
				t.Errorf("providers are %q, want %q", got, want)
			}
		})
	}
}

func TestAnotherSocketOfTheSameServiceReplacesTheFirst(t *testing.T) {
	d := open(t)
	keys(t, d, start, local)
	with(t, d, vault("a"))
	moved := vault("a")
	moved.Endpoint = "unix:///elsewhere.sock"
	with(t, d, moved)
	if got := read(t, d).config.Resources[0].Providers[0].KMS.Endpoint; got != moved.Endpoint || len(providers(t, d)) != 2 {
		t.Errorf("the endpoint is %s, among %q", got, providers(t, d))
	}
}

func TestAStartWithTheSameSettingsDoesNotTouchTheFile(t *testing.T) {
	d := open(t)
	k := keys(t, d, start, local)
	data, err := os.ReadFile(k.Encryption)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(k.Encryption, append([]byte("# ours\n"), data...), 0o600); err != nil {
		t.Fatal(err)
	}
	with(t, d, nil)
	if after := contents(t, d)[encryptionFile]; !strings.HasPrefix(after, "# ours\n") {
		t.Error("the file was written anew")
	}
}

func TestALocalKeyIs(t *testing.T) {
	t.Run("added before the others, which stay", func(t *testing.T) {
		d := open(t)
		keys(t, d, start, local)
		old := providers(t, d)[0]
		name := addKey(t, d, false)
		if got := providers(t, d); !slices.Equal(got, []string{"local key " + name, old}) || "local key "+name == old {
			t.Errorf("keys are %q", got)
		}
	})
	t.Run("prepared for reading, and used when it is said so", func(t *testing.T) {
		d := open(t)
		keys(t, d, start, local)
		old := providers(t, d)[0]
		name := addKey(t, d, true)
		if got := providers(t, d); !slices.Equal(got, []string{old, "local key " + name}) {
			t.Errorf("keys are %q", got)
		}
		change(t, d, func(e *Encryption) error { return e.UseKey(name) })
		if got := providers(t, d); !slices.Equal(got, []string{"local key " + name, old}) {
			t.Errorf("keys are %q", got)
		}
		if err := read(t, d).UseKey("other"); err == nil {
			t.Error("a key that is not there is used")
		}
	})
	t.Run("not added while a KMS encrypts", func(t *testing.T) {
		d := open(t)
		keys(t, d, start, local)
		with(t, d, vault("a"))
		if _, err := read(t, d).AddKey(false); err == nil || !strings.Contains(err.Error(), "KMS a") {
			t.Errorf("adding gives %v", err)
		}
	})
	t.Run("made anew when a KMS goes after the old one was pruned", func(t *testing.T) {
		d := open(t)
		keys(t, d, start, local)
		with(t, d, vault("a"))
		removed := prune(t, d)
		if len(removed) != 1 || !slices.Equal(providers(t, d), []string{"KMS a"}) {
			t.Fatalf("pruning took away %q and left %q", removed, providers(t, d))
		}
		with(t, d, nil)
		if got := providers(t, d); len(got) != 2 || !strings.HasPrefix(got[0], "local key ") || got[0] == removed[0] || got[1] != "KMS a" {
			t.Errorf("providers are %q", got)
		}
	})
}

func TestPruningLeavesWhatIsWrittenWith(t *testing.T) {
	d := open(t)
	keys(t, d, start, local)
	old := providers(t, d)[0]
	with(t, d, vault("a"))
	with(t, d, nil)
	name := addKey(t, d, false)
	if removed := prune(t, d); !slices.Equal(removed, []string{old, "KMS a"}) {
		t.Errorf("pruning took away %q", removed)
	}
	if got := providers(t, d); !slices.Equal(got, []string{"local key " + name}) {
		t.Errorf("it left %q", got)
	}
	if removed := prune(t, d); len(removed) != 0 {
		t.Errorf("pruning again took away %q", removed)
	}
}

func TestNothingIsPrunedFromAFileThatIsNotTheOneThatWasVerified(t *testing.T) {
	d := open(t)
	keys(t, d, start, local)
	addKey(t, d, false)
	verified := read(t, d)
	addKey(t, d, false) // nothing is encrypted with this one yet
	before := providers(t, d)
	removed, err := PruneEncryption(d.Path(), verified)
	if err == nil || !strings.Contains(err.Error(), "run this again") || len(removed) != 0 {
		t.Errorf("pruning took away %q, %v", removed, err)
	}
	if after := providers(t, d); !slices.Equal(before, after) {
		t.Errorf("%q became %q", before, after)
	}
}

func TestOfChangesAtTheSameTimeNoneIsLost(t *testing.T) {
	d := open(t)
	keys(t, d, start, local)
	exported := export(t, d)
	old := providers(t, d)
	var group sync.WaitGroup
	const changes = 20
	for range changes {
		group.Go(func() {
			if err := ChangeEncryption(d.Path(), func(e *Encryption) error {
				_, err := e.AddKey(true)
				time.Sleep(time.Millisecond)
				return err
			}); err != nil {
				t.Error(err)
			}
		})
		// These change something once, or are refused because there is a key that the file lacks: none may bring back
		// what it read before another change.
		group.Go(func() { _ = importInto(d, exported) })
		group.Go(func() { _ = d.EncryptWith(nil) })
	}
	group.Wait()
	if got := providers(t, d); len(got) != len(old)+changes {
		t.Errorf("%d keys are left of %d: %q", len(got), len(old)+changes, got)
	}
}

func TestAChangeThatFailsOrChangesNothingLeavesTheFileAsItIs(t *testing.T) {
	d := open(t)
	k := keys(t, d, start, local)
	data, err := os.ReadFile(k.Encryption)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(k.Encryption, append([]byte("# ours\n"), data...), 0o600); err != nil {
		t.Fatal(err)
	}
	prune(t, d)
	if err := ChangeEncryption(d.Path(), func(e *Encryption) error {
		_, err := e.AddKey(false)
		return errors.Join(err, e.UseKey("other"))
	}); err == nil {
		t.Error("a key that is not there is used")
	}
	if after := contents(t, d)[encryptionFile]; !strings.HasPrefix(after, "# ours\n") {
		t.Error("the file was written anew")
	}
}

func TestAConfigurationOfEncryptionIsRefusedWhen(t *testing.T) {
	for name, tc := range map[string]struct{ file, want string }{
		"it would read plain text":  {"apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n  - identity: {}\n", "identity"},
		"it encrypts nothing":       {"apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n", "encrypts nothing"},
		"it has a field mistyped":   {"resorces: []\n", "resorces"},
		"it is no YAML whatsoever ": {"{", encryptionFile},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t)
			k := keys(t, d, start, local)
			if err := os.WriteFile(k.Encryption, []byte(tc.file), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := d.EncryptWith(vault("a")); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the error is %v", err)
			}
			if got := contents(t, d)[encryptionFile]; got != tc.file {
				t.Errorf("the file became %q", got)
			}
		})
	}
}

func TestKeysOfADirectoryThatIsNotThereCannotBeRead(t *testing.T) {
	if _, err := ReadEncryption(filepath.Join(t.TempDir(), "no")); err == nil {
		t.Error("they were read")
	}
}

// entries are what a directory encrypts, with what in order.
func entries(t *testing.T, d *Dir) []string {
	t.Helper()
	var all []string
	for _, r := range read(t, d).config.Resources {
		var names []string
		for _, p := range r.Providers {
			names = append(names, describe(p, 0)...)
		}
		all = append(all, strings.Join(r.Resources, ",")+": "+strings.Join(names, ", "))
	}
	return all
}

// former is a data directory that encrypts secrets alone.
func former(t *testing.T) (d *Dir, key string) {
	t.Helper()
	d = open(t)
	keys(t, d, start, local)
	change(t, d, func(e *Encryption) error {
		e.config.Resources[0].Resources = []string{"secrets"}
		return nil
	})
	return d, providers(t, d)[0]
}

func add(t *testing.T, d *Dir) (added []string) {
	t.Helper()
	change(t, d, func(e *Encryption) (err error) {
		added, err = e.AddResources()
		return err
	})
	return added
}

const others = "federatedsecrets.types.kubefed.io,revisions.propagation.cellfed.io"

func wantEntries(t *testing.T, d *Dir, want ...string) {
	t.Helper()
	if got := entries(t, d); !slices.Equal(got, want) {
		t.Errorf("it encrypts %q, want %q", got, want)
	}
}

func TestResourcesThatAreAddedAreReadAsPlainTextUntilTheyArePrunedAndSecretsNever(t *testing.T) {
	t.Run("with a local key", func(t *testing.T) {
		d, key := former(t)
		if added := add(t, d); strings.Join(added, ",") != others {
			t.Errorf("added %q", added)
		}
		if added := add(t, d); len(added) != 0 {
			t.Errorf("added again %q", added)
		}
		with(t, d, nil) // a start
		wantEntries(t, d, "secrets: "+key, others+": "+key+", plain text")
		if e := read(t, d); strings.Join(e.Joining(), ",") != others || e.Writer() != key || e.Service() != "" {
			t.Errorf("joining are %q, the writer is %s", e.Joining(), e.Writer())
		}
		if removed := prune(t, d); !slices.Equal(removed, []string{"plain text"}) {
			t.Errorf("pruning took away %q", removed)
		}
		wantEntries(t, d, "secrets,"+others+": "+key)
		if joining := read(t, d).Joining(); len(joining) != 0 {
			t.Errorf("joining are %q still", joining)
		}
	})
	t.Run("with a KMS, to which they come in a second round", func(t *testing.T) {
		d, key := former(t)
		with(t, d, vault("a"))
		add(t, d)
		with(t, d, vault("a"))
		wantEntries(t, d, "secrets: KMS a, "+key, others+": "+key+", plain text")
		if w, s := read(t, d).Writer(), read(t, d).Service(); w != "KMS a (secrets), "+key+" ("+strings.ReplaceAll(others, ",", ", ")+")" || s != "a" {
			t.Errorf("the writer is %s, the service %s", w, s)
		}
		if removed := prune(t, d); !slices.Equal(removed, []string{"plain text"}) {
			t.Errorf("pruning took away %q, and the key is needed", removed)
		}
		with(t, d, vault("a"))
		wantEntries(t, d, "secrets,"+others+": KMS a, "+key)
		if removed := prune(t, d); !slices.Equal(removed, []string{key}) {
			t.Errorf("pruning again took away %q", removed)
		}
		wantEntries(t, d, "secrets,"+others+": KMS a")
	})
	t.Run("with a KMS and no local key", func(t *testing.T) {
		d, key := former(t)
		with(t, d, vault("a"))
		prune(t, d)
		add(t, d)
		e := entries(t, d)
		if len(e) != 2 || e[0] != "secrets: KMS a" || !strings.HasPrefix(e[1], others+": local key ") || !strings.HasSuffix(e[1], ", plain text") || strings.Contains(e[1], key) {
			t.Errorf("it encrypts %q", e)
		}
	})
	t.Run("while the KMS changes", func(t *testing.T) {
		d, key := former(t)
		add(t, d)
		with(t, d, vault("a"))
		with(t, d, vault("b"))
		wantEntries(t, d, "secrets: KMS b, KMS a, "+key, others+": "+key+", plain text")
		with(t, d, nil)
		wantEntries(t, d, "secrets: "+key+", KMS b, KMS a", others+": "+key+", plain text")
	})
	t.Run("while the local key changes", func(t *testing.T) {
		d, key := former(t)
		add(t, d)
		name := "local key " + addKey(t, d, false)
		wantEntries(t, d, "secrets: "+name+", "+key, others+": "+name+", "+key+", plain text")
		if removed := prune(t, d); !slices.Equal(removed, []string{key, "plain text"}) {
			t.Errorf("pruning took away %q", removed)
		}
		wantEntries(t, d, "secrets,"+others+": "+name)
	})
	t.Run("not where all is encrypted already", func(t *testing.T) {
		d := open(t)
		keys(t, d, start, local)
		for _, resources := range [][]string{Encrypted(), {"*.*"}, {"secrets", "*.types.kubefed.io", "*.propagation.cellfed.io"}} {
			change(t, d, func(e *Encryption) error {
				e.config.Resources[0].Resources = resources
				return nil
			})
			if added := add(t, d); len(added) != 0 || len(entries(t, d)) != 1 {
				t.Errorf("%q was added to %q", added, resources)
			}
		}
	})
}

func TestPlainTextIsNeverWrittenNorReadOfSecrets(t *testing.T) {
	for name, entry := range map[string]string{
		"as what is written":             "- resources: [revisions.propagation.cellfed.io]\n  providers: [{identity: {}}, {secretbox: {keys: [{name: a, secret: YQ==}]}}]\n",
		"before a key":                   "- resources: [revisions.propagation.cellfed.io]\n  providers: [{secretbox: {keys: [{name: a, secret: YQ==}]}}, {identity: {}}, {secretbox: {keys: [{name: b, secret: YQ==}]}}]\n",
		"of secrets":                     "- resources: [secrets]\n  providers: [{secretbox: {keys: [{name: a, secret: YQ==}]}}, {identity: {}}]\n",
		"of secrets among others":        "- resources: [revisions.propagation.cellfed.io, secrets]\n  providers: [{secretbox: {keys: [{name: a, secret: YQ==}]}}, {identity: {}}]\n",
		"of secrets, which are in a set": "- resources: ['*.']\n  providers: [{secretbox: {keys: [{name: a, secret: YQ==}]}}, {identity: {}}]\n",
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t)
			k := keys(t, d, start, local)
			config := "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n" + entry
			if err := os.WriteFile(k.Encryption, []byte(config), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := ReadEncryption(d.Path()); err == nil || !strings.Contains(err.Error(), "identity") {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func TestAConfigurationThatEncryptsLessDoesNotReplaceOneThatEncryptsMore(t *testing.T) {
	d, _ := former(t)
	less := export(t, d)
	add(t, d)
	joining := export(t, d)
	before := contents(t, d)
	if err := importInto(d, less); err == nil || !strings.Contains(err.Error(), "encrypts resources") {
		t.Errorf("importing gives %v", err)
	}
	if differ := changed(before, contents(t, d)); len(differ) != 0 {
		t.Errorf("changed %v", differ)
	}
	other := open(t)
	for _, in := range []string{less, joining} {
		if err := importInto(other, in); err != nil {
			t.Errorf("importing gives %v", err)
		}
	}
	if contents(t, other)[encryptionFile] != before[encryptionFile] {
		t.Error("the resources did not arrive")
	}
}
