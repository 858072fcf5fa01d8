import type { BootOnce, BootPlan, Drive, Machine } from './schema.ts';

/** See `driveModeSchema`. */
export type HoldMode = Drive['mode'];

/** One image that a machine counts on, and how. */
export type Hold = { readonly image: string; readonly mode: HoldMode };

/** Who holds an image: drive number `index`, or the ISO of a boot plan when there is none. */
export type Holder = {
  readonly machine: string;
  readonly mode: HoldMode;
  readonly index?: number;
  /** True: only by an override for the next boot, or of the present one. */
  readonly once: boolean;
};

/**
 * Everything that `machine` holds: its standing drives, the ISO of its plan, and both of its
 * overrides (the pending one must find its image free; the present one is in use). An image that it
 * holds twice counts once, exclusive before shared.
 */
export function holdsOf(machine: Machine): Hold[] {
  const modes = new Map<string, HoldMode>();
  for (const { image, mode } of allHolds(machine))
    if (modes.get(image) !== 'exclusive') modes.set(image, mode);
  return [...modes].map(([image, mode]) => ({ image, mode }));
}

/** How `machine` holds `image`, the standing drive first; undefined when it does not. */
export function holderOf(machine: Machine, image: string): Holder | undefined {
  const all = allHolds(machine).filter((hold) => hold.image === image);
  const found = all.find((hold) => hold.mode === 'exclusive') ?? all[0];
  if (found === undefined) return undefined;
  const { mode, index, once } = found;
  return { machine: machine.name, mode, once, ...(index === undefined ? {} : { index }) };
}

/** Whether two holds of one image by two machines can stand together: nobody writes the image. */
export function canShare(a: HoldMode, b: HoldMode): boolean {
  return a !== 'exclusive' && b !== 'exclusive';
}

/** `machine "p4" as drive 0 (0x80, exclusive)`. */
export function describeHold(holder: Holder): string {
  const as =
    holder.index === undefined
      ? `as the ISO of its boot plan (${holder.mode})`
      : `as drive ${holder.index} (0x${(0x80 + holder.index).toString(16)}, ${holder.mode})`;
  return `machine "${holder.machine}" ${as}${holder.once ? ', by a one-time boot' : ''}`;
}

/** What `machine` boots with now: the override that this boot took, else its standing plan. */
export function bootInForce(machine: Machine): { plan: BootPlan; drives: Drive[] } {
  return merged(machine, machine.thisBoot);
}

/** What `machine` would get if it booted now: the pending override, else its standing plan. */
export function bootToCome(machine: Machine): { plan: BootPlan; drives: Drive[] } {
  return merged(machine, machine.nextBoot);
}

function merged(machine: Machine, once: BootOnce | undefined): { plan: BootPlan; drives: Drive[] } {
  return { plan: once?.plan ?? machine.plan, drives: once?.drives ?? machine.drives };
}

type NumberedHold = Hold & { index?: number; once: boolean };

function allHolds(machine: Machine): NumberedHold[] {
  return [
    ...driveHolds(machine.drives, false),
    ...planHolds(machine.plan, false),
    ...[machine.thisBoot, machine.nextBoot].flatMap((boot) =>
      boot === undefined
        ? []
        : [...driveHolds(boot.drives ?? [], true), ...planHolds(boot.plan, true)],
    ),
  ];
}

function driveHolds(drives: readonly Drive[], once: boolean): NumberedHold[] {
  return drives.map(({ image, mode }, index) => ({ image, mode, index, once }));
}

// An ISO is read by HTTP while the machine boots: as a shared drive, it must not change meanwhile.
function planHolds(plan: BootPlan, once: boolean): NumberedHold[] {
  return plan.kind === 'iso' ? [{ image: plan.image, mode: 'shared', once }] : [];
}
