/** One step forward of a file's schema. Steps are never edited once released: add another. */
export type Migration = { readonly name: string; readonly sql: string };

/** Version n of the file is the state after the first n steps; `user_version` keeps n. */
export const STATE_MIGRATIONS: readonly Migration[] = [
  {
    name: 'machines, images and settings',
    sql: `
      CREATE TABLE machines (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        uuid TEXT,
        address TEXT UNIQUE,
        registered INTEGER NOT NULL CHECK (registered IN (0, 1)),
        plan TEXT NOT NULL,
        chap TEXT,
        loader TEXT,
        arch INTEGER,
        next_boot TEXT,
        this_boot TEXT,
        note TEXT,
        created_at_ms INTEGER NOT NULL,
        seen_at_ms INTEGER
      ) STRICT;

      CREATE TABLE machine_macs (
        mac TEXT PRIMARY KEY,
        machine TEXT NOT NULL REFERENCES machines (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        UNIQUE (machine, position)
      ) STRICT;

      CREATE TABLE machine_drives (
        machine TEXT NOT NULL REFERENCES machines (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        image TEXT NOT NULL,
        mode TEXT NOT NULL,
        PRIMARY KEY (machine, position)
      ) STRICT;

      -- What each machine holds in all (drives, plan, one-time boots). The index and the trigger
      -- are the last word on "one holder": no bug above can attach a disk twice.
      CREATE TABLE image_holds (
        image TEXT NOT NULL,
        machine TEXT NOT NULL REFERENCES machines (id) ON DELETE CASCADE,
        mode TEXT NOT NULL,
        PRIMARY KEY (image, machine)
      ) STRICT;
      CREATE INDEX image_holds_machine ON image_holds (machine);
      CREATE UNIQUE INDEX image_holds_exclusive ON image_holds (image) WHERE mode = 'exclusive';
      CREATE TRIGGER image_holds_one_holder BEFORE INSERT ON image_holds
        WHEN EXISTS (
          SELECT 1 FROM image_holds AS other
          WHERE other.image = NEW.image AND other.machine <> NEW.machine
            AND (other.mode = 'exclusive' OR NEW.mode = 'exclusive')
        )
        BEGIN SELECT RAISE(ABORT, 'image held by another machine'); END;

      CREATE TABLE images (
        name TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        path TEXT NOT NULL,
        size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
        block_bytes INTEGER NOT NULL,
        owned INTEGER NOT NULL CHECK (owned IN (0, 1)),
        created_at_ms INTEGER NOT NULL,
        note TEXT,
        source TEXT
      ) STRICT;

      CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    `,
  },
];

/** AUTOINCREMENT: a number, once shown to a client, never comes again after a prune. */
export const EVENT_MIGRATIONS: readonly Migration[] = [
  {
    name: 'events',
    sql: `
      CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at_ms INTEGER NOT NULL,
        boot TEXT NOT NULL,
        machine TEXT,
        mac TEXT NOT NULL,
        stage TEXT NOT NULL,
        facts TEXT NOT NULL,
        problem TEXT
      ) STRICT;
    `,
  },
];
