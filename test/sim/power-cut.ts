import type { Random } from './random.ts';
import type { Client } from './world.ts';
import type { Workload } from './workload.ts';

/** Whatever has operations under way that the simulation lets happen one by one. */
export type Stepped = { readonly underWay: number; step(): void };

/** Lets every promise go on that can. */
function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/**
 * Sends commands and lets device operations happen, in an order that the seed decides, until
 * `steps` of them were done: at that moment the power goes, whatever is under way. Throws what a
 * command's answer got wrong.
 */
export async function runUntilCut(
  random: Random,
  clients: readonly Client[],
  workload: Workload,
  disk: Stepped,
  steps: number,
): Promise<void> {
  const busy = clients.map(() => 0);
  const wrong: unknown[] = [];
  // A client's answers after the cut mean nothing.
  const power = { on: true };
  for (let step = 0; step < steps; step++) {
    const free = [...clients.keys()].filter((i) => (busy[i] ?? 0) < (clients[i]?.depth ?? 0));
    const send = free.length > 0 && (disk.underWay === 0 || random.chance(0.4));
    if (send) {
      const chosen = random.pick(free);
      const operation = workload.next();
      busy[chosen] = (busy[chosen] ?? 0) + 1;
      clients[chosen]
        ?.run(operation)
        .then((answer) => {
          if (!power.on) return;
          busy[chosen] = (busy[chosen] ?? 0) - 1;
          operation.ended(answer);
        })
        .catch((e: unknown) => {
          wrong.push(e);
        });
    } else if (disk.underWay > 0) {
      disk.step();
    } else {
      break;
    }
    await turn();
    if (wrong.length > 0) throw wrong[0];
  }
  power.on = false;
}
