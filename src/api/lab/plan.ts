import { realpathSync } from 'node:fs';
import { UserError } from '#base/mod.ts';
import {
  holdsOf,
  MachineIndex,
  newMachineSchema,
  problemsOf,
  type Machine,
  type NewMachine,
  type Problem,
} from '#machines/mod.ts';
import type { Lab, LabChange, LabImage, LabMachine } from '../schema/lab.ts';
import type { AdminServices } from '../services.ts';
import { LabError } from './lab-error.ts';
import { differences, driveOf, driveWord, planOf } from './words.ts';

/** What has to happen so that the state is as a lab file says. */
export type LabPlan = {
  readonly changes: readonly LabChange[];
  readonly put: readonly Machine[];
  readonly remove: readonly Machine[];
  readonly addImages: readonly ({ readonly name: string } & LabImage)[];
  readonly freezeImages: readonly string[];
  readonly forgetImages: readonly string[];
};

type Known = Pick<AdminServices, 'machines' | 'images'>;

/**
 * Compares a lab file with the state. Changes nothing.
 *
 * A machine of the file is the one of that name, or else one that has one of its MACs and that the
 * file does not name otherwise. Throws LabError with every problem.
 */
export function planLab(lab: Lab, known: Known): LabPlan {
  const problems: Problem[] = [];
  const images = planImages(lab.images, known, problems);
  const machines = planMachines(lab, known, problems);
  const gone = new Set(images.forget);
  for (const machine of machines.all) {
    for (const { image } of holdsOf(machine)) {
      if (!gone.has(image)) continue;
      const message = `machine "${machine.name}" uses image "${image}", which is left out`;
      problems.push({ path: ['images'], message });
    }
  }
  if (problems.length > 0) throw new LabError(problems);
  return {
    changes: [...images.changes, ...machines.changes],
    put: machines.put,
    remove: machines.remove,
    addImages: images.add,
    freezeImages: images.freeze,
    forgetImages: images.forget,
  };
}

type ImagePlan = {
  changes: LabChange[];
  add: LabPlan['addImages'];
  freeze: string[];
  forget: string[];
};

function planImages(lab: Lab['images'], known: Known, problems: Problem[]): ImagePlan {
  if (lab === undefined) return { changes: [], add: [], freeze: [], forget: [] };
  const present = new Map(known.images.list().map((image) => [image.name, image]));
  const add = Object.entries(lab).flatMap(([name, image]) => {
    const there = present.get(name);
    if (there === undefined) return [{ name, ...image }];
    if (there.path !== realPath(image.path)) {
      const message = `"${name}" is ${there.path}: remove it first (polyboot image rm ${name})`;
      problems.push({ path: ['images', name, 'path'], message });
    }
    return [];
  });
  // An image that the server made is data: no file that forgets to name it may delete it.
  const forget = [...present.values()]
    .filter((image) => !image.owned && lab[image.name] === undefined)
    .map((image) => image.name);
  const golden = Object.entries(lab).flatMap(([name, image]) => (image.golden ? [name] : []));
  const freeze = golden.filter((name) => present.get(name)?.frozen !== true);
  const thaw = Object.keys(lab).filter((name) => present.get(name)?.frozen && !lab[name]?.golden);
  for (const name of thaw) {
    const message = `"${name}" is a golden image and stays one: say "golden: true"`;
    problems.push({ path: ['images', name], message });
  }
  const changes: LabChange[] = [
    ...add.map(({ name, path }) => change('image', name, 'add', [path])),
    ...freeze.flatMap((name) =>
      present.has(name) ? [change('image', name, 'change', ['becomes a golden image'])] : [],
    ),
    ...forget.map((name) => change('image', name, 'remove', ['forgotten; its file stays'])),
  ];
  return { changes, add, freeze, forget };
}

/** The library keeps paths without symbolic links. */
function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

type MachinePlan = { changes: LabChange[]; put: Machine[]; remove: Machine[]; all: Machine[] };

function planMachines(lab: Lab, known: Known, problems: Problem[]): MachinePlan {
  const current = known.machines.list();
  if (lab.machines === undefined) return { changes: [], put: [], remove: [], all: current };
  const matches = matchMachines(lab.machines, known);
  const images = new Set(known.images.list().map((image) => image.name));
  for (const name of Object.keys(lab.images ?? {})) images.add(name);
  const matched = new Set([...matches.values()].map((machine) => machine.id));
  const wanted = Object.entries(lab.machines).flatMap(([name, said]) => {
    const before = matches.get(name);
    const after = machineOf(name, said, before, known, problems);
    if (after === undefined) return [];
    checkImages(after, before, images, problems);
    checkModes(after, before, lab.images ?? {}, known, problems);
    return [{ before, after }];
  });
  const macs = new Set(wanted.flatMap(({ after }) => after.macs));
  const remove = current.filter(
    (machine) =>
      !matched.has(machine.id) && (machine.registered || machine.macs.some((mac) => macs.has(mac))),
  );
  const leaving = new Set([...matched, ...remove.map((machine) => machine.id)]);
  const staying = current.filter((machine) => !leaving.has(machine.id));
  checkTogether(
    wanted.map(({ after }) => after),
    staying,
    problems,
  );

  const put: Machine[] = [];
  const changes: LabChange[] = [];
  for (const { before, after } of wanted) {
    const details = before === undefined ? summary(after) : differences(before, after);
    if (before !== undefined && details.length === 0) continue;
    put.push(after);
    changes.push(change('machine', after.name, before === undefined ? 'add' : 'change', details));
  }
  for (const { name, registered } of remove)
    changes.push(change('machine', name, 'remove', registered ? [] : ['it has become another']));
  return { changes, put, remove, all: [...staying, ...wanted.map(({ after }) => after)] };
}

function matchMachines(
  lab: Readonly<Record<string, LabMachine>>,
  { machines }: Known,
): Map<string, Machine> {
  const matches = new Map<string, Machine>();
  const taken = new Set<string>();
  for (const name of Object.keys(lab)) {
    const machine = machines.byName(name);
    if (machine === undefined) continue;
    matches.set(name, machine);
    taken.add(machine.id);
  }
  for (const [name, { macs }] of Object.entries(lab)) {
    const machine = macs.flatMap((mac) => machines.byMac(mac) ?? []).find((m) => !taken.has(m.id));
    if (matches.has(name) || machine === undefined) continue;
    matches.set(name, machine);
    taken.add(machine.id);
  }
  return matches;
}

function machineOf(
  name: string,
  said: LabMachine,
  before: Machine | undefined,
  { machines }: Known,
  problems: Problem[],
): Machine | undefined {
  const { plan, drives, chap, ...rest } = said;
  const description = {
    ...rest,
    name,
    plan: planOf(plan),
    drives: (drives ?? []).map(driveOf),
    ...(chap === undefined ? {} : { chap: withSecrets(chap, before?.chap) }),
  };
  const result = newMachineSchema.safeParse(description);
  if (!result.success) {
    problems.push(...problemsOf(result.error.issues, ['machines', name]));
    return undefined;
  }
  try {
    return machines.described(result.data satisfies NewMachine, before);
  } catch (e) {
    if (!(e instanceof UserError)) throw e;
    problems.push({ path: ['machines', name, 'address'], message: e.explanation.what });
    return undefined;
  }
}

/** Secrets that the file leaves out are those that the server has. */
function withSecrets(
  chap: NonNullable<LabMachine['chap']>,
  old: Machine['chap'],
): Record<string, string | undefined> {
  const mutual = old?.mutualSecret === undefined ? {} : { mutualSecret: old.mutualSecret };
  return {
    ...(old === undefined ? {} : { secret: old.secret }),
    ...(chap.mutualUser === undefined ? {} : mutual),
    ...chap,
  };
}

function checkImages(
  after: Machine,
  before: Machine | undefined,
  images: ReadonlySet<string>,
  problems: Problem[],
): void {
  const held = new Set(before === undefined ? [] : holdsOf(before).map((hold) => hold.image));
  for (const { image } of holdsOf(after)) {
    if (held.has(image) || images.has(image)) continue;
    const message = `there is no image named "${image}"`;
    problems.push({ path: ['machines', after.name, 'drives'], message });
  }
}

/** What the library says against a drive; an image that is only coming counts as it will be. */
function checkModes(
  after: Machine,
  before: Machine | undefined,
  coming: NonNullable<Lab['images']>,
  known: Known,
  problems: Problem[],
): void {
  const held = before === undefined ? [] : holdsOf(before);
  for (const { image, mode } of holdsOf(after)) {
    if (held.some((hold) => hold.image === image && hold.mode === mode)) continue;
    const message = modeProblem(image, mode, coming[image]?.golden, known);
    if (message !== undefined) problems.push({ path: ['machines', after.name, 'drives'], message });
  }
  const { plan } = after;
  const old = before?.plan.kind === 'iso' ? before.plan.image : undefined;
  if (plan.kind !== 'iso' || plan.image === old) return;
  if (!known.images.list().some(({ name }) => name === plan.image)) return;
  const message = refusalOf(() => {
    known.images.checkIso(plan.image);
  });
  if (message !== undefined) problems.push({ path: ['machines', after.name, 'plan'], message });
}

function modeProblem(
  image: string,
  mode: Machine['drives'][number]['mode'],
  golden: boolean | undefined,
  { images }: Known,
): string | undefined {
  const overlay = mode === 'overlay-fresh' || mode === 'overlay-kept';
  if (golden === true) {
    if (mode !== 'exclusive') return undefined;
    return `image "${image}" is golden: nobody writes it, so no machine has it exclusively`;
  }
  const there = images.list().some(({ name }) => name === image);
  if (!there) return overlay ? `image "${image}" must be "golden: true" for overlays` : undefined;
  return refusalOf(() => {
    images.checkAttach(image, mode);
  });
}

/** What a check says against it. */
function refusalOf(check: () => void): string | undefined {
  try {
    check();
    return undefined;
  } catch (e) {
    if (e instanceof UserError) return e.explanation.what;
    throw e;
  }
}

/** Puts the machines beside each other one by one, so that every conflict is told. */
function checkTogether(
  wanted: readonly Machine[],
  staying: readonly Machine[],
  problems: Problem[],
): void {
  const index = new MachineIndex(staying);
  for (const machine of wanted) {
    try {
      index.check(machine);
      index.put(machine);
    } catch (e) {
      if (!(e instanceof UserError)) throw e;
      problems.push({ path: ['machines', machine.name], message: e.explanation.what });
    }
  }
}

function summary(machine: Machine): string[] {
  const drives = machine.drives.map(driveWord).join(', ');
  return [machine.macs.join(', '), ...(drives === '' ? [] : [`drives: ${drives}`])];
}

function change(
  subject: LabChange['subject'],
  name: string,
  action: LabChange['action'],
  details: string[],
): LabChange {
  return { subject, name, action, details };
}
