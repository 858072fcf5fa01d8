import { randomUUID } from 'node:crypto';
import { normalizeMac, silentLog, type Clock, type Log } from '#base/mod.ts';
import { driveImageUnknown, driveUnknown, machineUnknown } from './conflicts.ts';
import { bootInForce, bootToCome, holdsOf, type Holder } from './holds.ts';
import { IntroductionRate } from './introductions.ts';
import { SEEN_RESOLUTION_MS, UNREGISTERED_IDLE_MS, UNREGISTERED_MAX } from './limits.ts';
import { MachineBook, type MachineBatch, type MachineEvent } from './machine-book.ts';
import { introducedName, parseInitiatorName } from './names.ts';
import type { MachineRepository } from './repository.ts';
import {
  archSchema,
  bootOnceSchema,
  macSchema,
  machineChangeSchema,
  newMachineSchema,
  uuidSchema,
  type BootOnce,
  type BootPlan,
  type Drive,
  type Machine,
  type MachineChange,
  type NewMachine,
} from './schema.ts';
import { parseOrExplain } from './validate.ts';

/** What machines need to know of the image library. */
export interface ImageDirectory {
  has(name: string): boolean;
  /** Throws UserError when the image, which is there, does not admit a drive of that mode. */
  checkAttach?(name: string, mode: Drive['mode']): void;
  /** Throws UserError when the image, which is there, is no ISO: nothing else goes over HTTP. */
  checkIso?(name: string): void;
}

/** What machines need to know of the networks that are served. */
export interface AddressDirectory {
  /** Throws UserError when no machine with these MAC addresses may have that fixed address. */
  checkAddress(address: string, macs: readonly string[]): void;
}

export type MachineServiceOptions = {
  readonly repository: MachineRepository;
  readonly images: ImageDirectory;
  readonly addresses?: AddressDirectory;
  readonly clock: Clock;
  readonly log?: Log;
  readonly newId?: () => string;
};

/** What firmware tells of itself; what is malformed counts as not told. */
export type FirmwareFacts = { readonly uuid?: string; readonly arch?: number };

/** What an unknown machine says of itself when it boots. */
export type Introduction = FirmwareFacts & { readonly mac: string };

/** What one boot of a machine uses. */
export type Boot = {
  readonly machine: Machine;
  readonly plan: BootPlan;
  readonly drives: readonly Drive[];
};

/**
 * The inventory. Every method is synchronous, and what it answers is durable. Names, MACs and fixed
 * addresses are unique; an image attached `exclusive` has one holder.
 */
export class MachineService {
  readonly #book: MachineBook;
  readonly #images: ImageDirectory;
  readonly #addresses: AddressDirectory | undefined;
  readonly #clock: Clock;
  readonly #newId: () => string;
  readonly #introductions: IntroductionRate;
  #refused = 0;

  constructor(options: MachineServiceOptions) {
    this.#book = new MachineBook(options.repository, options.log ?? silentLog);
    this.#images = options.images;
    this.#addresses = options.addresses;
    this.#clock = options.clock;
    this.#newId = options.newId ?? randomUUID;
    this.#introductions = new IntroductionRate(options.clock);
  }

  /** All machines, ordered by name. */
  list(): Machine[] {
    return this.#book.machines.list();
  }

  /** The machine of that name. Throws UserError not-found. */
  show(name: string): Machine {
    const machine = this.#book.machines.byName(name);
    if (machine === undefined) throw machineUnknown(name);
    return machine;
  }

  byId(id: string): Machine | undefined {
    return this.#book.machines.get(id);
  }

  byName(name: string): Machine | undefined {
    return this.#book.machines.byName(name);
  }

  /** By any spelling of one of its MAC addresses. */
  byMac(mac: string): Machine | undefined {
    return this.#book.machines.byMac(normalizeMac(mac) ?? mac);
  }

  /** By SMBIOS UUID; undefined also when several machines claim it (boards share them). */
  byUuid(uuid: string): Machine | undefined {
    const wanted = uuid.toLowerCase();
    const found = this.list().filter((machine) => machine.uuid === wanted);
    return found.length === 1 ? found[0] : undefined;
  }

  /** By iSCSI initiator name, as `initiatorNameOf` makes it. */
  byInitiatorName(iqn: string): Machine | undefined {
    const name = parseInitiatorName(iqn);
    return name === undefined ? undefined : this.byName(name);
  }

  /** Who holds `image`, ordered by machine name; a one-time boot counts. */
  holdersOf(image: string): Holder[] {
    return this.#book.machines.holdersOf(image);
  }

  /** Introductions refused so far, for being too many at once or in all. */
  get refusedIntroductions(): number {
    return this.#refused;
  }

  /** Calls `fn` after each committed change until the result is called. */
  subscribe(fn: (event: MachineEvent) => void): () => void {
    return this.#book.subscribe(fn);
  }

  /**
   * A new machine. One that introduced itself under one of its MACs becomes it, history and all.
   * Throws UserError invalid, conflict, or not-found for an image that is not in the library.
   */
  add(description: NewMachine): Machine {
    const { macs } = parseOrExplain(newMachineSchema, description, 'this machine cannot be added');
    const introduced = new Set(macs.flatMap((mac) => this.byMac(mac) ?? []));
    const [same, ...others] = [...introduced].filter((machine) => !machine.registered);
    const machine = this.#withImages(this.described(description, same));
    this.#book.commit({ put: [machine], remove: others });
    return this.show(machine.name);
  }

  /** Changes what `change` names; null clears. A machine whose owner speaks of it is registered. */
  set(name: string, change: MachineChange): Machine {
    return this.#put(this.#changed(name, change));
  }

  /** Gives the machine another name, and with it another initiator name and target names. */
  rename(name: string, to: string): Machine {
    return this.set(name, { name: to });
  }

  /** Forgets a machine. Its images stay. Throws UserError not-found. */
  rm(name: string): void {
    this.#book.commit({ remove: [this.show(name)] });
  }

  /** Adds a drive at the end (or before `index`). Throws UserError, naming who holds the image. */
  attach(name: string, drive: Drive, index?: number): Machine {
    const { drives } = this.show(name);
    const at = Math.min(index ?? drives.length, drives.length);
    return this.set(name, { drives: drives.toSpliced(at, 0, drive) });
  }

  /** Takes every drive of `image` away. Throws UserError not-found when there is none. */
  detach(name: string, image: string): Machine {
    const machine = this.show(name);
    const drives = machine.drives.filter((drive) => drive.image !== image);
    if (drives.length === machine.drives.length) throw driveUnknown(name, image);
    return this.set(name, { drives });
  }

  /** What the machine's next boot gets instead of its standing plan, once; null: as always. */
  boot(name: string, once: BootOnce | null): Machine {
    const { nextBoot: _, ...machine } = this.show(name);
    if (once === null) return this.#put(machine);
    const nextBoot = parseOrExplain(bootOnceSchema, once, `"${name}" cannot boot so`);
    return this.#put(this.#withImages({ ...machine, nextBoot }));
  }

  /**
   * A boot of the machine begins: a pending override becomes the one in force, and one of an
   * earlier boot ends. To be called once per boot; `bootOf` answers the same afterwards.
   * Throws UserError not-found when the id is unknown.
   */
  beginBoot(id: string): Boot {
    const machine = this.byId(id);
    if (machine === undefined) throw machineUnknown(id);
    if (machine.nextBoot === undefined && machine.thisBoot === undefined)
      return this.bootOf(machine);
    const { nextBoot, thisBoot: _, ...rest } = machine;
    return this.bootOf(
      this.#put({ ...rest, ...(nextBoot === undefined ? {} : { thisBoot: nextBoot }) }),
    );
  }

  /** What the present boot of `machine` uses; its drives are the targets it may log in to. */
  bootOf(machine: Machine): Boot {
    return { machine, ...bootInForce(machine) };
  }

  /** What `machine` would use if it booted now. */
  nextBootOf(machine: Machine): Boot {
    return { machine, ...bootToCome(machine) };
  }

  /** The machine of that id asked us for something: keeps `seenAtMs` to a minute, and facts. */
  seen(id: string, facts: FirmwareFacts = {}): void {
    const machine = this.byId(id);
    if (machine === undefined) return;
    const nowMs = this.#clock.wallMs();
    const fresh = Math.abs(nowMs - (machine.seenAtMs ?? 0)) < SEEN_RESOLUTION_MS;
    const { arch, uuid } = { ...checked(facts), ...defined({ uuid: machine.uuid }) };
    const news = (arch ?? machine.arch) !== machine.arch || uuid !== machine.uuid;
    if (fresh && !news) return;
    this.#put({ ...machine, seenAtMs: nowMs, ...defined({ arch, uuid }) });
  }

  /**
   * The machine with that MAC; an unknown one is written down as `new-<last 3 MAC bytes>`,
   * unregistered, with the menu as its plan. Undefined when it is no MAC of a network card, when
   * too many introduce themselves, or when all places are taken by machines seen within the hour.
   */
  discover(introduction: Introduction): Machine | undefined {
    const known = this.byMac(introduction.mac);
    if (known !== undefined) {
      this.seen(known.id, introduction);
      return this.byId(known.id);
    }
    const mac = macSchema.safeParse(introduction.mac);
    const room = mac.success && this.#introductions.take() ? this.#roomForOne() : undefined;
    if (!mac.success || room === undefined) {
      this.#refused += 1;
      return undefined;
    }
    const nowMs = this.#clock.wallMs();
    const machine: Machine = {
      id: this.#newId(),
      name: this.#freeName(introducedName(mac.data)),
      macs: [mac.data],
      plan: { kind: 'menu' },
      drives: [],
      registered: false,
      createdAtMs: nowMs,
      seenAtMs: nowMs,
      ...checked(introduction),
    };
    this.#book.commit({ put: [machine], remove: room });
    return this.byId(machine.id);
  }

  /** Commits several changes together. Throws UserError conflict and changes nothing. */
  commit(batch: MachineBatch): void {
    this.#book.commit(batch);
  }

  /** Throws what `commit` would throw. Changes nothing. */
  check(batch: MachineBatch): void {
    this.#book.check(batch);
  }

  /**
   * The machine that `description` makes, not committed: a new one, or what `same` becomes (its
   * identity and history stay). Images are not looked for. Throws UserError invalid, and conflict
   * for a fixed address that it cannot have.
   */
  described(description: NewMachine, same?: Machine): Machine {
    const said = parseOrExplain(newMachineSchema, description, 'this machine cannot be so');
    if (said.address !== undefined && said.address !== same?.address)
      this.#addresses?.checkAddress(said.address, said.macs);
    const { id, createdAtMs, arch, uuid, seenAtMs, nextBoot, thisBoot } = same ?? {};
    return {
      ...defined({ arch, uuid, seenAtMs, nextBoot, thisBoot }),
      ...said,
      id: id ?? this.#newId(),
      registered: true,
      createdAtMs: createdAtMs ?? this.#clock.wallMs(),
    };
  }

  #changed(name: string, change: MachineChange): Machine {
    const machine = this.show(name);
    const said = parseOrExplain(machineChangeSchema, change, `machine "${name}" cannot be so`);
    if (typeof said.address === 'string' && said.address !== machine.address)
      this.#addresses?.checkAddress(said.address, said.macs ?? machine.macs);
    const merged = Object.entries({ ...machine, ...said, registered: true });
    const kept = Object.fromEntries(
      merged.filter(([, value]) => value !== null && value !== undefined),
    );
    return this.#withImages(kept as Machine);
  }

  #put(machine: Machine): Machine {
    this.#book.commit({ put: [machine] });
    return this.#book.machines.get(machine.id) ?? machine;
  }

  /**
   * Throws UserError when the machine would newly hold an image that does not exist, or that does
   * not admit it.
   */
  #withImages(machine: Machine): Machine {
    const before = this.byId(machine.id);
    const held = before === undefined ? [] : holdsOf(before);
    for (const { image, mode } of holdsOf(machine)) {
      const same = held.find((hold) => hold.image === image);
      if (same === undefined && !this.#images.has(image)) throw driveImageUnknown(image);
      if (same?.mode !== mode && this.#images.has(image)) this.#images.checkAttach?.(image, mode);
    }
    const known = before === undefined ? [] : isosOf(before);
    for (const image of isosOf(machine))
      if (!known.includes(image) && this.#images.has(image)) this.#images.checkIso?.(image);
    return machine;
  }

  /** Whom to forget to make room for one more introduction; undefined when nobody can go. */
  #roomForOne(): Machine[] | undefined {
    if (this.#book.machines.full) return undefined;
    const unregistered = this.list().filter((machine) => !machine.registered);
    if (unregistered.length < UNREGISTERED_MAX) return [];
    const idleSinceMs = this.#clock.wallMs() - UNREGISTERED_IDLE_MS;
    const oldest = unregistered.sort((a, b) => (a.seenAtMs ?? 0) - (b.seenAtMs ?? 0))[0];
    return oldest !== undefined && (oldest.seenAtMs ?? 0) <= idleSinceMs ? [oldest] : undefined;
  }

  #freeName(wanted: string): string {
    let name = wanted;
    for (let n = 2; this.byName(name) !== undefined; n += 1) name = `${wanted}-${n}`;
    return name;
  }
}

/** The images that plans of the machine read over HTTP. */
function isosOf({ plan, nextBoot }: Machine): string[] {
  return [plan, nextBoot?.plan].flatMap((p) => (p?.kind === 'iso' ? [p.image] : []));
}

function checked(facts: FirmwareFacts): { uuid?: string; arch?: number } {
  const uuid = uuidSchema.safeParse(facts.uuid).data;
  const arch = archSchema.safeParse(facts.arch).data;
  return defined({ uuid, arch });
}

function defined<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const entries = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]?: Exclude<T[K], undefined> };
}
