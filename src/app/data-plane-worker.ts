import { parentPort, workerData } from 'node:worker_threads';
import {
  createLog,
  InternalError,
  invariant,
  messageOf,
  PolybootError,
  type Explanation,
  type Log,
} from '#base/mod.ts';
import { BasePool } from '#block/mod.ts';
import type { DriveExport } from '#boot/mod.ts';
import { TargetServer } from '#iscsi/mod.ts';
import type {
  CallName,
  DataPlaneCalls,
  PlaneThreadData,
  PostedError,
  Tell,
} from './data-plane-protocol.ts';
import { DriveTable } from './drive-table.ts';
import { growDisk, serveDisk, type ServedDisk } from './served-disk.ts';

/**
 * The data-plane thread: the iSCSI target and its disks, driven by messages (see
 * `data-plane-protocol.ts`). Nothing here waits for the main thread; events go to it as they
 * happen.
 */
class DataPlaneWorker {
  readonly #post: (tell: Tell) => void;
  readonly #server: TargetServer;
  readonly #pool = new BasePool();
  readonly #stateFolder: string;
  readonly #drives: DriveTable<ServedDisk>;

  constructor(post: (tell: Tell) => void, log: Log, stateFolder: string) {
    this.#post = post;
    this.#stateFolder = stateFolder;
    this.#server = new TargetServer({
      log,
      giveAway: (home, connection) => {
        post({ kind: 'handover', home, connection });
      },
      observer: {
        event: (event) => {
          post({ kind: 'event', event });
          if ('session' in event && event.kind !== 'login') this.#sessionChanged();
        },
      },
    });
    this.#drives = new DriveTable({
      serve: (drive) => serveDisk(this.#server, this.#pool, { ...drive, stateFolder }),
      inUse: (iqn) => this.#inUse(iqn),
    });
  }

  async call(id: number, name: CallName, ask: unknown): Promise<void> {
    try {
      const answer = await this.#run(name, ask);
      this.#post({ kind: 'answer', id, answer });
    } catch (e) {
      this.#post({ kind: 'failed', id, error: postedError(e) });
    }
  }

  async #run(name: CallName, ask: unknown): Promise<unknown> {
    switch (name) {
      case 'start': {
        const { portals, shared } = ask as DataPlaneCalls['start']['ask'];
        return await this.#server.listen(portals, { reusePort: shared });
      }
      case 'release': {
        const { drives, restarting } = ask as DataPlaneCalls['release']['ask'];
        await this.#drives.release(drives, restarting);
        return null;
      }
      case 'sync': {
        const { drives, distant, restarting } = ask as DataPlaneCalls['sync']['ask'];
        this.#server.setDistant(distant);
        return await this.#drives.sync(drives, restarting);
      }
      case 'stats':
        return this.#server.stats();
      case 'takeOver':
        this.#server.takeOver(ask as DataPlaneCalls['takeOver']['ask']);
        return null;
      case 'grow': {
        const { iqn, sizeBytes } = ask as DataPlaneCalls['grow']['ask'];
        await growDisk(iqn, this.#drives.served(iqn), sizeBytes);
        return null;
      }
      case 'hold': {
        const { iqn } = ask as DataPlaneCalls['hold']['ask'];
        const disk = this.#drives.served(iqn);
        if (disk === undefined || !this.#inUse(iqn)) return false;
        await disk.hold();
        return true;
      }
      case 'resume':
        await this.#resume((ask as DataPlaneCalls['resume']['ask']).drive);
        return null;
      case 'stop':
        await this.#server.close();
        await this.#drives.close();
        return null;
    }
  }

  async #resume(drive: DriveExport): Promise<void> {
    const disk = this.#drives.served(drive.config.iqn);
    // Taken away meanwhile: its machine started again, and the next sync serves what it shall have.
    if (disk === undefined) return;
    this.#drives.resumed(drive);
    try {
      await disk.resume({ ...drive, stateFolder: this.#stateFolder });
    } catch (e) {
      // There is no disk behind the target: its initiators must notice, and come again.
      await this.#drives.drop(drive.config.iqn);
      throw e;
    }
  }

  #inUse(iqn: string): boolean {
    return this.#server.stats().sessions.some((s) => s.targetName === iqn);
  }

  /** A change of drives may have waited for this session's end. */
  #sessionChanged(): void {
    const told = this.#drives.sessionEnded().then((released) => {
      if (released) this.#post({ kind: 'released' });
    });
    told.catch((e: unknown) => {
      this.#server.log.error({ why: messageOf(e) }, 'drives could not be brought up to date');
    });
  }
}

function postedError(e: unknown): PostedError {
  const code = e instanceof PolybootError ? e.code : 'internal';
  const known = e instanceof Error && 'explanation' in e;
  // Our own explained errors carry this shape; anything else has only its message.
  const explanation = known ? (e.explanation as Explanation) : { what: messageOf(e) };
  return { code, explanation };
}

const port = parentPort;
invariant(port !== null, 'the data plane runs in a worker thread');
// The main thread's side of this is `PlaneThread`; a Log itself cannot travel.
const { level, stateFolder } = workerData as PlaneThreadData;
const worker = new DataPlaneWorker(
  (tell) => {
    port.postMessage(tell);
  },
  createLog(level).child({ service: 'iscsi' }),
  stateFolder,
);
port.on('message', ({ id, name, ask }: { id: number; name: CallName; ask: unknown }) => {
  worker.call(id, name, ask).catch((e: unknown) => {
    throw new InternalError(`the data plane cannot answer ${name}`, { cause: e });
  });
});
