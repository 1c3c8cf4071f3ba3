package storage

import (
	"fmt"
	"strings"
)

// dialect is what differs between the databases in how they are spoken to.
// Everything that decides what is written and what is answered is the same.
type dialect struct {
	// begin begins a transaction that will write.
	begin string
	// lockHead reads the head row under the lock that all writers share.
	lockHead string
	// latest reads the newest entries of n names.
	latest func(n int) string
	// latestNames bounds the names that one such statement asks for.
	latestNames int
	// insert appends n entries.
	insert func(n int) string
	// insertRows and insertBytes bound one such statement.
	insertRows, insertBytes int

	list, listKeys, count, history, due, size string
	dropReplaced, dropTombstones              string

	// name is a name as an argument, everything the bound that is above all names.
	name       func(string) any
	everything any

	// prepares says that statements are cheaper when they are prepared once.
	prepares bool
	// shared says that other processes may write to the same database.
	shared bool
	// sweepStep is how many revisions one transaction of the sweep covers.
	sweepStep int64
}

const headColumns = `SELECT h.revision, h.compacted, h.swept, h.epoch, h.stamp,
	(SELECT e.stamp FROM entries AS e WHERE e.revision = ?) FROM head AS h WHERE h.id = 1`

const (
	// getSQL reads one name as it was at a revision.
	getSQL = `SELECT revision, name, create_revision, version, lease, deleted, value FROM entries
		WHERE name = ? AND revision <= ? ORDER BY revision DESC LIMIT 1`

	latestSQL = `SELECT revision, name, create_revision, version, lease, deleted, value FROM entries
		WHERE name = ? ORDER BY revision DESC LIMIT 1`

	insertSQL = `INSERT INTO entries (revision, name, deleted, create_revision, previous, version, lease, expires, stamp, value) VALUES `
	rowSQL    = `(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

	// listSQL walks the index by name and stops at the limit.
	listSQL = `SELECT e.revision, e.name, e.create_revision, e.version, e.lease, e.deleted, %s FROM entries AS e
		WHERE e.name >= ? AND e.name < ? AND e.revision <= ? AND e.deleted = 0
		AND NOT EXISTS (SELECT 1 FROM entries AS n WHERE n.name = e.name AND n.revision > e.revision AND n.revision <= ?)
		ORDER BY e.name LIMIT ?`

	// noLimit is a limit that no database here can reach.
	noLimit = int64(1) << 60

	historyColumns = `SELECT e.revision, e.name, e.create_revision, e.version, e.lease, e.deleted, e.stamp, e.value,
		p.revision, p.create_revision, p.version, p.lease, p.value `

	dueSQL = `SELECT e.name, e.revision, e.expires FROM entries AS e
		WHERE e.expires > 0 AND NOT EXISTS (SELECT 1 FROM entries AS n WHERE n.name = e.name AND n.revision > e.revision)
		ORDER BY e.expires LIMIT ?`
)

// rows is a statement that appends n entries.
func rows(n int) string { return insertSQL + rowSQL + strings.Repeat(","+rowSQL, n-1) }

// sqliteDialect: one process, one writing connection, calls without a network.
var sqliteDialect = &dialect{
	begin:       `BEGIN IMMEDIATE`,
	lockHead:    headColumns,
	latest:      func(int) string { return latestSQL },
	latestNames: 1,
	insert:      rows,
	insertRows:  1,
	insertBytes: 1,
	list:        fmt.Sprintf(listSQL, "e.value"),
	listKeys:    fmt.Sprintf(listSQL, "NULL"),
	// Beside MAX, SQLite takes the other columns from the row of the maximum; the
	// index alone answers.
	count: `SELECT COUNT(*) FROM (SELECT MAX(revision), deleted FROM entries
		WHERE name >= ? AND name < ? AND revision <= ? GROUP BY name) WHERE deleted = 0`,
	// The plus signs keep it on the primary key.
	history: historyColumns + `FROM entries AS e LEFT JOIN entries AS p ON p.revision = e.previous
		WHERE e.revision >= ? AND e.revision <= ? AND +e.name >= ? AND +e.name < ? ORDER BY e.revision LIMIT ?`,
	due: dueSQL,
	size: `SELECT (c.page_count - f.freelist_count) * s.page_size
		FROM pragma_page_count AS c, pragma_freelist_count AS f, pragma_page_size AS s`,
	dropReplaced:   `DELETE FROM entries WHERE revision IN (SELECT previous FROM entries WHERE revision > ? AND revision <= ? AND previous > 0)`,
	dropTombstones: `DELETE FROM entries WHERE revision > ? AND revision <= ? AND deleted = 1`,
	name:           func(s string) any { return s },
	everything:     []byte{}, // a BLOB sorts after every TEXT
	prepares:       true,
	sweepStep:      500,
}

// mysqlDialect: other processes write too, and each statement is a journey, so
// that one fetches and one appends for many.
var mysqlDialect = &dialect{
	begin:       `START TRANSACTION`,
	lockHead:    headColumns + ` FOR UPDATE`,
	latest:      func(n int) string { return "(" + latestSQL + ")" + strings.Repeat(" UNION ALL ("+latestSQL+")", n-1) },
	latestNames: 64,
	insert:      rows,
	insertRows:  256,
	insertBytes: 4 << 20,
	list:        fmt.Sprintf(listSQL, "e.value"),
	listKeys:    fmt.Sprintf(listSQL, "NULL"),
	count: `SELECT COUNT(*) FROM (SELECT name, MAX(revision) AS revision FROM entries
		WHERE name >= ? AND name < ? AND revision <= ? GROUP BY name) AS m
		JOIN entries AS e ON e.name = m.name AND e.revision = m.revision WHERE e.deleted = 0`,
	history: historyColumns + `FROM entries AS e FORCE INDEX (PRIMARY) LEFT JOIN entries AS p ON p.revision = e.previous
		WHERE e.revision >= ? AND e.revision <= ? AND e.name >= ? AND e.name < ? ORDER BY e.revision LIMIT ?`,
	due: dueSQL,
	size: `SELECT COALESCE(SUM(data_length + index_length), 0) FROM information_schema.tables
		WHERE table_schema = DATABASE() AND table_name IN ('entries', 'head')`,
	dropReplaced:   `DELETE p FROM entries AS p JOIN entries AS e ON p.revision = e.previous WHERE e.revision > ? AND e.revision <= ? AND e.previous > 0`,
	dropTombstones: `DELETE FROM entries WHERE revision > ? AND revision <= ? AND deleted = 1`,
	name:           func(s string) any { return []byte(s) },
	everything:     []byte{0xff}, // no name of an API server begins so
	shared:         true,
	sweepStep:      500,
}
