import { FakeClock, UserError, type Clock } from '#base/mod.ts';
import type { CheckReport, Image, ImageHistory, ImageUsage, ImageWork } from '#images/mod.ts';
import type { OverlayState, VerbResult } from '#images/mod.ts';
import { MachineService, MemoryMachineRepository, type Drive } from '#machines/mod.ts';
import type { TimelineEvent } from './schema/timeline.ts';
import type { AdminEvents, AdminImages, AdminServices, ImageBuild } from './services.ts';

/** The address that no machine can have here. */
export const OWN_ADDRESS = '10.0.0.254';

/**
 * The services in memory, for tests of the API and of the command line: the inventory is the real
 * one, images are records without files, and events come when a test says so.
 */
export class FakeServices implements AdminServices {
  readonly images: FakeImages;
  readonly machines: MachineService;
  readonly events = new FakeEvents();

  constructor(clock: Clock = new FakeClock()) {
    this.images = new FakeImages((name) => this.machines.holdersOf(name).length > 0);
    this.machines = new MachineService({
      repository: new MemoryMachineRepository(),
      images: {
        has: (name) => this.images.has(name),
        checkAttach: (name, mode) => {
          this.images.checkAttach(name, mode);
        },
        checkIso: (name) => {
          this.images.checkIso(name);
        },
      },
      addresses: {
        checkAddress: (address) => {
          if (address !== OWN_ADDRESS) return;
          throw new UserError('conflict', 'machine-address-taken', { what: `${address} is ours` });
        },
      },
      clock,
    });
  }

  settled(): Promise<void> {
    return Promise.resolve();
  }

  leases(): ReturnType<AdminServices['leases']> {
    return [
      {
        address: '10.0.0.5',
        mac: '52:54:00:00:00:01',
        machine: 'p4',
        state: 'bound',
        expiresAtMs: 1,
      },
    ];
  }

  status(): ReturnType<AdminServices['status']> {
    const target = 'iqn.2026-11.org.polyboot:p4.0';
    const initiator = 'iqn.2026-11.org.polyboot:p4';
    return {
      version: '0.1.0',
      pid: 1,
      startedAtMs: 0,
      rssBytes: 64 * 1024 * 1024,
      services: [
        { name: 'iscsi', state: 'up', listeners: ['10.0.0.1:3260'], counters: { logins: 1 } },
        { name: 'dhcp', state: 'failed', listeners: [], detail: 'port taken', counters: {} },
      ],
      sessions: [
        {
          machine: 'p4',
          initiator,
          target,
          from: '10.0.0.5:1024',
          sinceMs: 0,
          readBytes: 1,
          writtenBytes: 2,
        },
      ],
      machines: this.machines.list().length,
      images: this.images.list().length,
    };
  }
}

/**
 * Images as records; a test moves and ends `build` through `running`. What is done with an image
 * that is there is written down in `calls`.
 */
export class FakeImages implements AdminImages {
  readonly #images = new Map<string, Image>();
  readonly #held: (name: string) => boolean;
  /** The work of the build that runs, for the test to move it. */
  running: { work: ImageWork; finish: () => void } | undefined;
  /** Wakes a test that waits for a build to run. */
  onBuild: () => void = () => undefined;
  cancelled = 0;
  /** One line for each verb on an image that is there: "snapshot dos before the update". */
  readonly calls: string[] = [];
  states: OverlayState[] = [];

  constructor(held: (name: string) => boolean) {
    this.#held = held;
  }

  has(name: string): boolean {
    return this.#images.has(name);
  }

  list(): readonly Image[] {
    return [...this.#images.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  get(name: string): Image {
    const image = this.#images.get(name);
    if (image === undefined)
      throw new UserError('not-found', 'image-unknown', {
        what: `there is no image named "${name}"`,
      });
    return image;
  }

  async add(path: string, options: { name?: string; note?: string } = {}): Promise<Image> {
    await Promise.resolve();
    if (path.includes('missing'))
      throw new UserError('not-found', 'file-missing', { what: `there is no file ${path}` });
    const name = options.name ?? path.replace(/^.*\//, '').replace(/\..*$/, '');
    const note = options.note === undefined ? {} : { note: options.note };
    const kind = path.endsWith('.iso') ? 'iso' : 'raw';
    return this.#put({ ...blank(name), path, kind, owned: false, ...note });
  }

  async create(
    name: string,
    options: { preset: string; sizeBytes: number; note?: string },
  ): Promise<Image> {
    await Promise.resolve();
    const note = options.note === undefined ? {} : { note: options.note };
    return this.#put({
      ...blank(name),
      ...note,
      sizeBytes: options.sizeBytes,
      source: `preset ${options.preset}`,
    });
  }

  async build(name: string, request: ImageBuild, work: ImageWork): Promise<Image> {
    const cancelled = new Promise<never>((_, reject) => {
      work.signal?.addEventListener('abort', () => {
        this.cancelled += 1;
        this.onBuild();
        reject(new UserError('conflict', 'cancelled', { what: 'cancelled' }));
      });
    });
    const finished = new Promise<void>((resolve) => {
      this.running = { work, finish: resolve };
    });
    this.onBuild();
    await Promise.race([finished, cancelled]);
    if (name === 'unlucky')
      throw new UserError('conflict', 'no-luck', { what: 'it broke', why: 'luck' });
    return this.#put({ ...blank(name), source: `recipe ${request.recipe}` });
  }

  clone(name: string, newName: string, work?: ImageWork): Promise<Image> {
    const { sizeBytes } = this.get(name);
    work?.progress?.({ phase: 'copy', doneBytes: 0, totalBytes: sizeBytes });
    work?.progress?.({ phase: 'copy', doneBytes: sizeBytes, totalBytes: sizeBytes });
    return Promise.resolve(this.#put({ ...blank(newName), source: `clone of ${name}` }));
  }

  sourceOf(name: string): ReturnType<AdminImages['sourceOf']> {
    return { kind: 'raw', path: this.get(name).path, blockBytes: 512 };
  }

  import(path: string, options: { name?: string; format?: string } = {}): Promise<Image> {
    const image = { ...blank(options.name ?? 'imported'), source: `import of ${path}` };
    return Promise.resolve(this.#put(image));
  }

  async export(from: string, path: string, options: object = {}): Promise<void> {
    await this.#did('export', from, path, JSON.stringify(options));
  }

  overlay(base: string, name: string): Promise<VerbResult> {
    this.get(base);
    const image = this.#put({ ...blank(name), kind: 'qcow2', source: `overlay of ${base}` });
    return Promise.resolve({ image, notes: [] });
  }

  snapshot(name: string, comment?: string): Promise<VerbResult> {
    return this.#did('snapshot', name, comment);
  }

  rollback(name: string, point?: number): Promise<VerbResult> {
    return this.#did('rollback', name, point);
  }

  async freeze(name: string, comment?: string): Promise<VerbResult> {
    this.#images.set(name, { ...this.get(name), frozen: true });
    return this.#did('freeze', name, comment);
  }

  promote(source: string, comment?: string): Promise<VerbResult> {
    return this.#did('promote', source, comment);
  }

  promoteOverlay(machine: string, image: string, comment?: string): Promise<VerbResult> {
    return this.#did('promote-overlay', image, machine, comment);
  }

  flatten(name: string): Promise<VerbResult> {
    return this.#did('flatten', name);
  }

  resize(name: string, sizeBytes: number): Promise<VerbResult> {
    return this.#did('resize', name, sizeBytes);
  }

  async check(name: string): Promise<CheckReport> {
    await this.#did('check', name);
    const problem = { severity: 'warning', code: 'odd', text: 'something is odd' } as const;
    return { image: name, problems: name === 'sound' ? [] : [problem], fixed: [] };
  }

  async repair(name: string, options: { geometry?: boolean } = {}): Promise<CheckReport> {
    await this.#did('repair', name, JSON.stringify(options));
    return { image: name, problems: [], fixed: ['the geometry'] };
  }

  history(name: string): ImageHistory {
    const { frozen } = this.get(name);
    const point = { createdAtMs: 1_700_000_000_000, sizeBytes: 512 };
    return {
      name,
      frozen,
      points: [
        { number: 1, ...point, current: false, comment: 'as installed' },
        { number: 2, ...point, current: true, allocatedBytes: 4096 },
      ],
      overlays: this.states.filter((state) => state.image === name),
    };
  }

  usage(name: string): ImageUsage {
    const { path, sizeBytes: virtualBytes } = this.get(name);
    const layer = { id: 'l1', format: 'raw', path, frozen: false, virtualBytes } as const;
    const neededBy = [`image "${name}"`];
    return { name, virtualBytes, ownBytes: 0, sharedBytes: 0, layers: [{ ...layer, neededBy }] };
  }

  overlays(): OverlayState[] {
    return this.states;
  }

  wish(machine: string, image: string, wish: 'keep' | 'discard', attached: boolean): void {
    this.calls.push(`${wish} ${machine} ${image} ${attached ? 'attached' : 'left'}`);
    const one = this.states.find((state) => state.image === image);
    this.states = this.states.filter((state) => state !== one);
    if (one !== undefined && attached) this.states.push({ ...one, next: wish });
  }

  checkIso(name: string): void {
    if (this.get(name).kind === 'iso') return;
    throw new UserError('unsupported', 'image-kind', { what: `"${name}" is no ISO` });
  }

  checkAttach(name: string, mode: Drive['mode']): void {
    const overlay = mode === 'overlay-fresh' || mode === 'overlay-kept';
    if (overlay === this.get(name).frozen || mode === 'shared') return;
    throw new UserError('conflict', 'image-mode', { what: `image "${name}" does not admit that` });
  }

  async inspect(name: string): Promise<object> {
    await Promise.resolve();
    this.get(name);
    return {
      sizeBytes: 528_482_304,
      table: 'mbr',
      partitions: [
        {
          number: 1,
          scheme: 'mbr',
          typeCode: '06',
          typeName: 'FAT16',
          startLba: 63,
          sectorCount: 1_032_129,
          sizeBytes: 528_450_048,
          active: true,
          filesystem: { kind: 'FAT16', label: 'DOS\u001b[31m' },
        },
      ],
      hasBootSignature: true,
      geometry: { cylinders: 1024, heads: 16, sectorsPerTrack: 63 },
      reachableBytes: 528_482_304,
      bios: { bootable: true, why: 'partition 1 is active' },
      uefi: { bootable: false, why: 'no EFI system partition' },
      warnings: [{ code: 'odd', text: 'something is odd' }],
    };
  }

  #did(verb: string, name: string, ...more: unknown[]): Promise<VerbResult> {
    const image = this.get(name.replace(/@.*/, ''));
    const words = [verb, name, ...more].filter((word) => word !== undefined);
    this.calls.push(words.map(String).join(' '));
    return Promise.resolve({ image, notes: [`${verb} done`] });
  }

  async remove(name: string): Promise<void> {
    await Promise.resolve();
    if (name.includes('@')) {
      this.calls.push(`remove ${name}`);
      return;
    }
    this.get(name);
    if (this.#held(name))
      throw new UserError('conflict', 'image-in-use', { what: `the image "${name}" is in use` });
    this.#images.delete(name);
  }

  #put(image: Image): Image {
    if (this.#images.has(image.name))
      throw new UserError('conflict', 'image-exists', {
        what: `there is an image "${image.name}"`,
      });
    this.#images.set(image.name, image);
    return image;
  }
}

/** Events in memory. */
export class FakeEvents implements AdminEvents {
  readonly all: TimelineEvent[] = [];
  readonly #listeners = new Set<(event: TimelineEvent) => void>();

  get listeners(): number {
    return this.#listeners.size;
  }

  after(id: number, limit: number): readonly TimelineEvent[] {
    return this.all.filter((event) => event.id > id).slice(0, limit);
  }

  lastId(): number {
    return this.all.at(-1)?.id ?? 0;
  }

  subscribe(listener: (event: TimelineEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** One more event, with the next number. */
  emit(event: Partial<TimelineEvent>): TimelineEvent {
    const whole: TimelineEvent = {
      id: this.lastId() + 1,
      atMs: 1_700_000_000_000,
      boot: 'boot-1',
      mac: '52:54:00:00:00:01',
      stage: 'power-on',
      facts: {},
      ...event,
    };
    this.all.push(whole);
    for (const listener of this.#listeners) listener(whole);
    return whole;
  }
}

function blank(name: string): Image {
  return {
    name,
    kind: 'raw',
    path: `/var/lib/polyboot/images/${name}.img`,
    sizeBytes: 528_482_304,
    blockBytes: 512,
    owned: true,
    frozen: false,
    head: `layer-${name}`,
    lastPoint: 0,
    createdAtMs: 1_700_000_000_000,
  };
}
