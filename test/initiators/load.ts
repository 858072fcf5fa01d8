import assert from 'node:assert/strict';
import type { InitiatorGuest } from './guest.ts';

/**
 * A load that verifies: each round makes 8 files of other sizes and contents in memory, copies them
 * to the disk, flushes, drops the page cache, and compares every byte of what the disk gives back.
 * Says each round on the serial line, and the first error; how it ended is in a file, since what is
 * on the line while a command runs belongs to its answer.
 */
const LOAD = `#!/bin/bash
# Usage: load FOLDER
fail() { echo "LOAD failed: $1" >/dev/ttyS0; echo failed >/run/load.over; exit 1; }
mkdir -p /run/meant "$1/found" || fail mkdir
[ -e /run/noise ] || head -c 4000000 /dev/urandom >/run/noise
round=0
while [ ! -e /run/load.stop ]; do
  round=$((round + 1))
  for i in 1 2 3 4 5 6 7 8; do
    length=$(((round * 7919 + i * 104729) % 900000 + 1))
    from=$(((round * 12 + i) * 40961 % 3000000 + 1))
    tail -c +$from /run/noise | head -c $length >/run/meant/$i
  done
  cp /run/meant/* "$1/found/" || fail write
  sync -f "$1" || fail sync
  echo 3 >/proc/sys/vm/drop_caches
  diff -r /run/meant "$1/found" >/run/load.verdict 2>&1 || fail "$(cat /run/load.verdict)"
  echo "LOAD round $round" >/dev/ttyS0
done
echo ended >/run/load.over
`;

/** One round takes about a second, translated; a recovery may come between. */
const ROUND_LIMIT_MS = 240_000;

/** The verifying load, running in a guest. */
export class Load {
  readonly #guest: InitiatorGuest;

  private constructor(guest: InitiatorGuest) {
    this.#guest = guest;
  }

  /** Starts it in a folder of the guest, and waits for its first round. */
  static async start(guest: InitiatorGuest, folder: string): Promise<Load> {
    await guest.write('/run/load', LOAD);
    await guest.run('rm -f /run/load.stop /run/load.over');
    await guest.start(`bash /run/load ${folder}`);
    const load = new Load(guest);
    await load.rounds(1);
    return load;
  }

  /** Waits until so many more rounds were written and verified. */
  async rounds(count: number): Promise<void> {
    for (let n = 0; n < count; n++) {
      const [said] = await this.#guest.machine.serial.waitFor(
        /LOAD (?:round|failed).*\n/,
        ROUND_LIMIT_MS,
      );
      assert.match(said, /LOAD round/);
    }
  }

  /** Ends it; the round in work is finished and verified. */
  async stop(): Promise<void> {
    const over = 'until [ -s /run/load.over ]; do sleep 0.1; done; cat /run/load.over';
    assert.equal(await this.#guest.run(`touch /run/load.stop; ${over}`), 'ended');
  }
}
