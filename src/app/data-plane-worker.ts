import { parentPort, workerData } from 'node:worker_threads';
import {
  createLog,
  InternalError,
  invariant,
  messageOf,
  PolybootError,
  type Explanation,
  type Log,
  type LogLevel,
} from '#base/mod.ts';
import { BasePool } from '#block/mod.ts';
import { TargetServer } from '#iscsi/mod.ts';
import type { CallName, DataPlaneCalls, PostedError, Tell } from './data-plane-protocol.ts';
import { DriveTable } from './drive-table.ts';
import { serveDisk } from './served-disk.ts';

/**
 * The data-plane thread: the iSCSI target and its disks, driven by messages (see
 * `data-plane-protocol.ts`). Nothing here waits for the main thread; events go to it as they
 * happen.
 */
class DataPlaneWorker {
  readonly #post: (tell: Tell) => void;
  readonly #server: TargetServer;
  readonly #pool = new BasePool();
  readonly #drives: DriveTable;

  constructor(post: (tell: Tell) => void, log: Log) {
    this.#post = post;
    this.#server = new TargetServer({
      log,
      observer: {
        event: (event) => {
          post({ kind: 'event', event });
          if ('session' in event && event.kind !== 'login') this.#sessionChanged();
        },
      },
    });
    this.#drives = new DriveTable({
      serve: ({ path, blockBytes, ...drive }) =>
        serveDisk(this.#server, this.#pool, {
          ...drive,
          source: { kind: 'raw', path, blockBytes },
        }),
      inUse: (iqn) => this.#server.stats().sessions.some((s) => s.targetName === iqn),
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
      case 'start':
        return await this.#server.listen([...(ask as DataPlaneCalls['start']['ask']).portals]);
      case 'sync': {
        const { drives, restarting } = ask as DataPlaneCalls['sync']['ask'];
        return await this.#drives.sync(drives, restarting);
      }
      case 'stats':
        return this.#server.stats();
      case 'stop':
        await this.#server.close();
        await this.#drives.close();
        return null;
    }
  }

  /** A change of drives may have waited for this session's end. */
  #sessionChanged(): void {
    this.#drives.sessionEnded().catch((e: unknown) => {
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
// The main thread says how much to log; a Log itself cannot travel.
const { level } = workerData as { level: LogLevel };
const worker = new DataPlaneWorker(
  (tell) => {
    port.postMessage(tell);
  },
  createLog(level).child({ service: 'iscsi' }),
);
port.on('message', ({ id, name, ask }: { id: number; name: CallName; ask: unknown }) => {
  worker.call(id, name, ask).catch((e: unknown) => {
    throw new InternalError(`the data plane cannot answer ${name}`, { cause: e });
  });
});
