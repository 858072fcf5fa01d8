import { FakeClock, UserError, type Clock } from '#base/mod.ts';
import type { Image, ImageWork } from '#images/mod.ts';
import { MachineService, MemoryMachineRepository } from '#machines/mod.ts';
import type { TimelineEvent } from './schema/timeline.ts';
import type { AdminEvents, AdminImages, AdminServices, ImageBuild } from './services.ts';

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
      images: { has: (name) => this.images.has(name) },
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

/** Images as records; a test moves and ends `build` through `running`. */
export class FakeImages implements AdminImages {
  readonly #images = new Map<string, Image>();
  readonly #held: (name: string) => boolean;
  /** The work of the build that runs, for the test to move it. */
  running: { work: ImageWork; finish: () => void } | undefined;
  /** Wakes a test that waits for a build to run. */
  onBuild: () => void = () => undefined;
  cancelled = 0;

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

  add(path: string, options: { name?: string; note?: string }): Image {
    if (path.includes('missing'))
      throw new UserError('not-found', 'file-missing', { what: `there is no file ${path}` });
    const name = options.name ?? path.replace(/^.*\//, '').replace(/\..*$/, '');
    const note = options.note === undefined ? {} : { note: options.note };
    return this.#put({ ...blank(name), path, owned: false, ...note });
  }

  create(name: string, options: { preset: string; sizeBytes: number; note?: string }): Image {
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

  clone(name: string, newName: string, work: ImageWork): Promise<Image> {
    const { sizeBytes } = this.get(name);
    work.progress?.({ phase: 'copy', doneBytes: 0, totalBytes: sizeBytes });
    work.progress?.({ phase: 'copy', doneBytes: sizeBytes, totalBytes: sizeBytes });
    return Promise.resolve(this.#put({ ...blank(newName), source: `clone of ${name}` }));
  }

  inspect(name: string): object {
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

  remove(name: string): void {
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
    createdAtMs: 1_700_000_000_000,
  };
}
