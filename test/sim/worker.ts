import { parentPort, Worker, workerData } from 'node:worker_threads';
import { forSeeds } from './random.ts';

/** A life of something under a seed; made once, after whatever all lives need. */
export type LifeMaker = () => Promise<(seed: number) => Promise<void>>;

type Order = { readonly module: string; readonly name: string; readonly seeds: readonly number[] };
type Verdict = { readonly failure: string | null };

/**
 * Lives `name` of a module for many seeds, in a thread of its own: in the thread of the tests
 * node:test looks at every promise, which takes half of the time of a simulation (measured).
 * Rejects with the first failure.
 */
export async function liveInThread(
  module: URL,
  name: string,
  list: readonly number[],
): Promise<void> {
  const order: Order = { module: module.href, name, seeds: list };
  const worker = new Worker(new URL(import.meta.url), { workerData: order });
  const verdict = await new Promise<Verdict>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', () => {
      reject(new Error('the thread ended without a verdict'));
    });
  });
  await worker.terminate();
  if (verdict.failure !== null) throw new Error(verdict.failure);
}

async function obey({ module, name, seeds }: Order): Promise<Verdict> {
  try {
    const makers = (await import(module)) as Record<string, LifeMaker | undefined>;
    const maker = makers[name];
    if (maker === undefined) throw new Error(`${module} has no ${name}`);
    await forSeeds(seeds, await maker());
    return { failure: null };
  } catch (e) {
    return { failure: e instanceof Error ? (e.stack ?? e.message) : String(e) };
  }
}

const order = workerData as Order | null;
if (parentPort !== null && order !== null) parentPort.postMessage(await obey(order));
