import { DRIVE_MODES, type BootPlan, type Drive, type Machine } from '#machines/mod.ts';
import type { LabMachine } from '../schema/lab.ts';

/** The plan of a lab file: one word, or the whole; without one: from its drives. */
export function planOf(plan: LabMachine['plan']): BootPlan {
  if (plan === undefined) return { kind: 'san' };
  return typeof plan === 'string' ? { kind: plan } : plan;
}

/** "golden:shared" → a drive. */
export function driveOf(drive: string | Drive): Drive {
  if (typeof drive !== 'string') return drive;
  const [image = '', word] = drive.split(':');
  return { image, mode: DRIVE_MODES.find((mode) => mode === word) ?? 'exclusive' };
}

/** A plan as a lab file writes it: a word where one says all. */
export function planWord(plan: BootPlan): NonNullable<LabMachine['plan']> {
  return plan.kind === 'san' || plan.kind === 'local' || plan.kind === 'menu' ? plan.kind : plan;
}

/** A drive as a lab file writes it. */
export function driveWord(drive: Drive): string {
  return drive.mode === 'exclusive' ? drive.image : `${drive.image}:${drive.mode}`;
}

/** What differs between two machines, as lines for people; secrets are only said to differ. */
export function differences(before: Machine, after: Machine): string[] {
  const [old, now] = [faces(before), faces(after)];
  const lines = Object.keys(now).flatMap((key) =>
    old[key] === now[key] ? [] : [`${key}: ${old[key] ?? 'none'} → ${now[key] ?? 'none'}`],
  );
  if (!before.registered) lines.unshift(`the machine that introduced itself as ${before.name}`);
  const secrets = (machine: Machine): string =>
    JSON.stringify([machine.chap?.secret, machine.chap?.mutualSecret]);
  if (secrets(before) !== secrets(after)) lines.push('CHAP secret: changed');
  return lines;
}

/** Every field of a machine that an owner sets, as one line of text. */
function faces(machine: Machine): Record<string, string | undefined> {
  const { chap, plan } = machine;
  const word = planWord(plan);
  return {
    name: machine.name,
    macs: machine.macs.join(', '),
    uuid: machine.uuid,
    address: machine.address,
    plan: typeof word === 'string' ? word : JSON.stringify(word),
    drives: machine.drives.map(driveWord).join(', ') || undefined,
    chap: chap === undefined ? undefined : [chap.user, chap.mutualUser ?? []].flat().join(' / '),
    loader: machine.loader,
    note: machine.note,
  };
}
