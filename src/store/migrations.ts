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
  {
    name: 'images are chains of layers',
    sql: `
      -- References are checked at the end of a transaction: a change may name things in any order.
      CREATE TABLE layers (
        id TEXT PRIMARY KEY,
        path TEXT NOT NULL,
        format TEXT NOT NULL,
        parent TEXT REFERENCES layers (id) DEFERRABLE INITIALLY DEFERRED,
        size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
        block_bytes INTEGER NOT NULL,
        frozen TEXT,
        owned INTEGER NOT NULL CHECK (owned IN (0, 1)),
        created_at_ms INTEGER NOT NULL,
        grow_to INTEGER
      ) STRICT;
      CREATE INDEX layers_parent ON layers (parent);

      CREATE TEMP TABLE one_layer AS SELECT name, lower(hex(randomblob(5))) AS id FROM images;
      INSERT INTO layers
        SELECT one_layer.id, path, kind, NULL, size_bytes, block_bytes, NULL, owned, created_at_ms,
          NULL
        FROM images JOIN one_layer USING (name);

      ALTER TABLE images RENAME TO images_before;
      CREATE TABLE images (
        name TEXT PRIMARY KEY,
        head TEXT NOT NULL REFERENCES layers (id) DEFERRABLE INITIALLY DEFERRED,
        created_at_ms INTEGER NOT NULL,
        last_point INTEGER NOT NULL,
        note TEXT,
        source TEXT
      ) STRICT;
      INSERT INTO images
        SELECT name, one_layer.id, created_at_ms, 0, note, source
        FROM images_before JOIN one_layer USING (name);
      DROP TABLE images_before;
      DROP TABLE one_layer;

      CREATE TABLE image_points (
        image TEXT NOT NULL REFERENCES images (name) DEFERRABLE INITIALLY DEFERRED,
        number INTEGER NOT NULL,
        layer TEXT NOT NULL REFERENCES layers (id) DEFERRABLE INITIALLY DEFERRED,
        comment TEXT,
        created_at_ms INTEGER NOT NULL,
        PRIMARY KEY (image, number)
      ) STRICT;

      -- The machine is no reference: what it wrote may outlive it.
      CREATE TABLE machine_overlays (
        machine TEXT NOT NULL,
        machine_name TEXT NOT NULL,
        image TEXT NOT NULL REFERENCES images (name) DEFERRABLE INITIALLY DEFERRED,
        layer TEXT NOT NULL REFERENCES layers (id) DEFERRABLE INITIALLY DEFERRED,
        host_boot TEXT,
        next TEXT,
        created_at_ms INTEGER NOT NULL,
        PRIMARY KEY (machine, image)
      ) STRICT;
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
