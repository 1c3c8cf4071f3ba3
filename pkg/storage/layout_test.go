package storage

import (
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// The first layout, as the version before this one made it.
const layout1 = `
CREATE TABLE entries (
	revision        INTEGER PRIMARY KEY,
	key             TEXT    NOT NULL,
	deleted         INTEGER NOT NULL,
	create_revision INTEGER NOT NULL,
	previous        INTEGER NOT NULL,
	version         INTEGER NOT NULL,
	lease           INTEGER NOT NULL,
	expires         INTEGER NOT NULL,
	value           BLOB
) STRICT;
CREATE UNIQUE INDEX entries_by_key ON entries (key, revision, deleted);
CREATE INDEX entries_by_expiry ON entries (expires) WHERE expires > 0;
CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO facts VALUES ('compacted', 2), ('swept', 2);
INSERT INTO entries VALUES (3, '/r/a', 0, 3, 0, 1, 0, 0, x'6669727374'), (4, '/r/b', 0, 4, 0, 1, 0, 0, x'78'),
	(5, '/r/a', 0, 3, 3, 2, 0, 0, x'7365636f6e64'), (6, '/r/b', 1, 0, 4, 0, 0, 0, NULL);
PRAGMA application_id=1128686948; PRAGMA user_version=1;
`

func TestAFileOfTheFirstLayoutIsTakenOverWhole(t *testing.T) {
	dir := t.TempDir()
	execute(t, dir, layout1)
	c := client(t, serve(t, databaseIn(dir)))
	got, err := c.Get(t.Context(), "/r/", clientv3.WithPrefix())
	if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "second" || got.Kvs[0].ModRevision != 5 || got.Kvs[0].Version != 2 {
		t.Fatalf("list: %v, %v", got, err)
	}
	if old, err := c.Get(t.Context(), "/r/a", clientv3.WithRev(4)); err != nil || string(old.Kvs[0].Value) != "first" {
		t.Errorf("an old revision: %v, %v", old, err)
	}
	if _, err := c.Get(t.Context(), "/r/a", clientv3.WithRev(1)); err == nil {
		t.Error("what was compacted can be read")
	}
	changed, err := update(t.Context(), c, "/r/a", "third", 5)
	if err != nil || !changed.Succeeded || changed.Header.Revision != 8 { // 7 is the health key
		t.Errorf("update: %v, %v", changed, err)
	}
	next := int64(3)
	for answer := range c.Watch(t.Context(), "", clientv3.WithFromKey(), clientv3.WithRev(3)) {
		if answer.Err() != nil {
			t.Fatal(answer.Err())
		}
		for _, e := range answer.Events {
			if e.Kv.ModRevision != next {
				t.Fatalf("the watch tells %d, want %d", e.Kv.ModRevision, next)
			}
			next++
		}
		if next == 9 {
			return
		}
	}
}
