import type { ApplyResult, Lab, LabMachine } from '../schema/lab.ts';
import type { Machine } from '#machines/mod.ts';
import type { AdminServices } from '../services.ts';
import { planLab } from './plan.ts';
import { driveWord, planWord } from './words.ts';

type Known = Pick<AdminServices, 'machines' | 'images'>;

/**
 * Makes the state match a lab file, or only says how it would. Images come first (they may fail),
 * then all machines in one commit, then images that nobody names are forgotten. A failure undoes
 * what came before it. Rejects with LabError, and what adding or freezing an image rejects with.
 */
export async function applyLab(lab: Lab, dryRun: boolean, known: Known): Promise<ApplyResult> {
  const { changes, addImages, freezeImages, forgetImages } = planLab(lab, known);
  if (dryRun) return { dryRun, changes: [...changes] };
  const added: string[] = [];
  try {
    for (const { name, path, note } of addImages) {
      const more = note === undefined ? {} : { note };
      await known.images.add(path, { name, ...more });
      added.push(name);
    }
    for (const name of freezeImages) await known.images.freeze(name);
    // Machines booted and introduced themselves meanwhile: what they are now is what is changed.
    const { put, remove } = planLab(lab, known);
    known.machines.commit({ put, remove });
  } catch (e) {
    for (const name of added) await known.images.remove(name);
    throw e;
  }
  for (const name of forgetImages) await known.images.remove(name);
  return { dryRun, changes: [...changes] };
}

/** The state as a lab file; with `secrets` it is complete, without them it can be shown. */
export function dumpLab(known: Known, secrets: boolean): Lab {
  const machines = known.machines.list().filter((machine) => machine.registered);
  const images = known.images.list().filter((image) => !image.owned);
  return {
    machines: Object.fromEntries(machines.map((m) => [m.name, labMachine(m, secrets)])),
    images: Object.fromEntries(
      images.map(({ name, path, frozen, note }) => [
        name,
        {
          path,
          ...(frozen ? { golden: true } : {}),
          ...(note === undefined ? {} : { note }),
        },
      ]),
    ),
  };
}

function labMachine(machine: Machine, secrets: boolean): LabMachine {
  const { macs, uuid, address, plan, drives, chap, loader, note } = machine;
  const shown = chap === undefined || secrets ? chap : withoutSecrets(chap);
  return {
    macs,
    ...(uuid === undefined ? {} : { uuid }),
    ...(address === undefined ? {} : { address }),
    plan: planWord(plan),
    ...(drives.length === 0 ? {} : { drives: drives.map(driveWord) }),
    ...(shown === undefined ? {} : { chap: shown }),
    ...(loader === undefined ? {} : { loader }),
    ...(note === undefined ? {} : { note }),
  };
}

function withoutSecrets(chap: NonNullable<Machine['chap']>): NonNullable<LabMachine['chap']> {
  const { secret: _, mutualSecret: __, ...names } = chap;
  return names;
}
