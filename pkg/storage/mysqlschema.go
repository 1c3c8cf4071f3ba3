package storage

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The tables. There is no AUTO_INCREMENT in them: a revision is one more than the
// head, under the head's lock, so that no server can reserve numbers, leave some
// out or hand them out in another order than that of the commits. Names are bytes:
// no collation can make two of them one.
const (
	mysqlEntries = `CREATE TABLE IF NOT EXISTS entries (
	revision        BIGINT          NOT NULL,
	name            VARBINARY(2048) NOT NULL,
	deleted         TINYINT         NOT NULL,
	create_revision BIGINT          NOT NULL,
	previous        BIGINT          NOT NULL,
	version         BIGINT          NOT NULL,
	lease           BIGINT          NOT NULL,
	expires         BIGINT          NOT NULL,
	stamp           BIGINT          NOT NULL,
	value           LONGBLOB,
	PRIMARY KEY (revision),
	UNIQUE KEY entries_by_key (name, revision, deleted),
	KEY entries_by_expiry (expires)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4`

	mysqlHead = `CREATE TABLE IF NOT EXISTS head (
	id        TINYINT NOT NULL,
	layout    INT     NOT NULL,
	revision  BIGINT  NOT NULL,
	compacted BIGINT  NOT NULL,
	swept     BIGINT  NOT NULL,
	epoch     BIGINT  NOT NULL,
	stamp     BIGINT  NOT NULL,
	PRIMARY KEY (id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4`

	mysqlFirst = `INSERT IGNORE INTO head (id, layout, revision, compacted, swept, epoch, stamp) VALUES (1, %d, 0, 0, 0, %d, 0)`

	mysqlLayout = 1
)

// mysqlColumns and mysqlKeys are what must be there, as the server describes it.
var (
	mysqlColumns = map[string]string{
		"entries.revision": "bigint", "entries.name": "varbinary", "entries.deleted": "tinyint", "entries.create_revision": "bigint",
		"entries.previous": "bigint", "entries.version": "bigint", "entries.lease": "bigint", "entries.expires": "bigint",
		"entries.stamp": "bigint", "entries.value": "longblob",
		"head.id": "tinyint", "head.layout": "int", "head.revision": "bigint", "head.compacted": "bigint", "head.swept": "bigint",
		"head.epoch": "bigint", "head.stamp": "bigint",
	}
	mysqlKeys = map[string]string{
		"entries PRIMARY KEY (revision)":                              "entries.PRIMARY.unique(revision)",
		"entries UNIQUE KEY entries_by_key (name, revision, deleted)": "entries.entries_by_key.unique(name,revision,deleted)",
		"entries KEY entries_by_expiry (expires)":                     "entries.entries_by_expiry.(expires)",
		"head PRIMARY KEY (id)":                                       "head.PRIMARY.unique(id)",
	}
)

// schema finishes tables that were begun, and refuses what it does not know. DDL
// is no transaction there, but each table is made at once, with its keys; so what
// a kill leaves is a table too few, or no first row.
func (p *inspection) schema() error {
	tables, err := p.tables()
	if err != nil {
		return err
	}
	if len(tables) < 2 && p.source.readOnly {
		return errors.New("the database holds no plane")
	}
	if tables["entries"] != "" && tables["head"] == "" {
		if err := p.emptyOrRefuse("the table head is missing"); err != nil {
			return err
		}
	}
	if !p.source.readOnly {
		for _, statement := range []string{mysqlEntries, mysqlHead} {
			if _, err := p.conn.ExecContext(p.ctx, statement); err != nil {
				if denied(err) {
					err = fmt.Errorf("%w; grant ALL on the database to the user", err)
				}
				return fmt.Errorf("making tables: %w", err)
			}
		}
	}
	if tables, err = p.tables(); err != nil {
		return err
	}
	for name, engine := range tables {
		if !strings.EqualFold(engine, "InnoDB") && !strings.EqualFold(engine, "OceanBase") {
			return fmt.Errorf("the table %s has engine %s, which has no transactions: ALTER TABLE %s ENGINE = InnoDB", name, engine, name)
		}
	}
	if err := p.columns(); err != nil {
		return err
	}
	if err := p.keys(); err != nil {
		return err
	}
	return p.firstRow()
}

// tables are those of ours that are there, with their engines.
func (p *inspection) tables() (map[string]string, error) {
	rows, err := p.conn.QueryContext(p.ctx, `SELECT LOWER(table_name), engine FROM information_schema.tables
		WHERE table_schema = DATABASE() AND LOWER(table_name) IN ('entries', 'head')`)
	if err != nil {
		return nil, fmt.Errorf("asking for the tables: %w", err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err was asked
	found := map[string]string{}
	for rows.Next() {
		var name string
		var engine sql.NullString
		if err := rows.Scan(&name, &engine); err != nil {
			return nil, fmt.Errorf("asking for the tables: %w", err)
		}
		found[name] = engine.String
		if !engine.Valid {
			found[name] = "none: it is damaged, or a view"
		}
	}
	return found, rows.Err()
}

// emptyOrRefuse refuses a log that has entries, but not what belongs to them.
func (p *inspection) emptyOrRefuse(what string) error {
	var n int
	if err := p.conn.QueryRowContext(p.ctx, `SELECT COUNT(*) FROM (SELECT 1 FROM entries LIMIT 1) AS some`).Scan(&n); err != nil {
		return fmt.Errorf("looking into the table entries: %w", err)
	}
	if n > 0 {
		return fmt.Errorf("%s, but there are entries: the database was restored in part; restore all of it, or empty it", what)
	}
	return nil
}

func (p *inspection) columns() error {
	rows, err := p.conn.QueryContext(p.ctx, `SELECT LOWER(table_name), LOWER(column_name), LOWER(data_type) FROM information_schema.columns
		WHERE table_schema = DATABASE() AND LOWER(table_name) IN ('entries', 'head')`)
	if err != nil {
		return fmt.Errorf("asking for the columns: %w", err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err was asked
	found := map[string]string{}
	for rows.Next() {
		var table, column, kind string
		if err := rows.Scan(&table, &column, &kind); err != nil {
			return fmt.Errorf("asking for the columns: %w", err)
		}
		found[table+"."+column] = kind
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("asking for the columns: %w", err)
	}
	for column, want := range mysqlColumns {
		if found[column] != want {
			return fmt.Errorf("the column %s is %q, not %s: the table is another program's, or was changed; use a database of its own", column, found[column], want)
		}
	}
	return nil
}

func (p *inspection) keys() error {
	rows, err := p.conn.QueryContext(p.ctx, `SELECT LOWER(table_name), index_name, non_unique, LOWER(column_name) FROM information_schema.statistics
		WHERE table_schema = DATABASE() AND LOWER(table_name) IN ('entries', 'head') ORDER BY table_name, index_name, seq_in_index`)
	if err != nil {
		return fmt.Errorf("asking for the keys: %w", err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err was asked
	columns, unique := map[string][]string{}, map[string]bool{}
	for rows.Next() {
		var table, key, column string
		var repeated bool
		if err := rows.Scan(&table, &key, &repeated, &column); err != nil {
			return fmt.Errorf("asking for the keys: %w", err)
		}
		columns[table+"."+key] = append(columns[table+"."+key], column)
		unique[table+"."+key] = !repeated
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("asking for the keys: %w", err)
	}
	var found []string
	for name, of := range columns {
		kind := ""
		if unique[name] {
			kind = "unique"
		}
		found = append(found, fmt.Sprintf("%s.%s(%s)", name, kind, strings.Join(of, ",")))
	}
	for says, want := range mysqlKeys {
		if !slices.Contains(found, want) {
			table, key, _ := strings.Cut(says, " ")
			return fmt.Errorf("the table %s lacks a key: ALTER TABLE %s ADD %s", table, table, key)
		}
	}
	return nil
}

// firstRow makes the head row, and refuses one that does not fit the entries.
func (p *inspection) firstRow() error {
	var layout int
	var revision, last int64
	read := func() error {
		return p.conn.QueryRowContext(p.ctx, `SELECT layout, revision, (SELECT COALESCE(MAX(revision), 0) FROM entries) FROM head WHERE id = 1`).
			Scan(&layout, &revision, &last)
	}
	err := read()
	if errors.Is(err, sql.ErrNoRows) && !p.source.readOnly {
		if err := p.emptyOrRefuse("the row of the table head is missing"); err != nil {
			return err
		}
		if _, err := p.conn.ExecContext(p.ctx, fmt.Sprintf(mysqlFirst, mysqlLayout, newStamp())); err != nil {
			return fmt.Errorf("making the first row: %w", err)
		}
		err = read()
	}
	switch {
	case err != nil:
		return fmt.Errorf("reading the head of the log: %w", err)
	case layout != mysqlLayout:
		return fmt.Errorf("the database has layout %d, this program knows layout %d", layout, mysqlLayout)
	case last > revision:
		return fmt.Errorf("there are entries up to revision %d, but the head is at %d: the database was restored in part; restore all of it", last, revision)
	}
	return nil
}
