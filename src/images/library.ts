import { statSync } from 'node:fs';
import { UserError } from '#base/mod.ts';
import type { DiskSource } from '#block/mod.ts';
import type { DiskReport, Preset } from '#disk/mod.ts';
import type { Drive } from '#machines/mod.ts';
import { CheckingVerbs, type CheckReport } from './checking.ts';
import { LibraryCore, type LibraryOptions } from './core.ts';
import { sourceOf } from './disk-source.ts';
import { exportImage, type ExportOptions } from './exporting.ts';
import type { Image, ImageWork } from './image.ts';
import { importImage, type ImportOptions } from './importing.ts';
import type { MachineOverlay, OverlayWish } from './layer.ts';
import { MachineOverlays, type DriveDisk, type DriveOwner } from './machine-overlays.ts';
import { MakingVerbs } from './making.ts';
import { historyOf, overlayStates, usageOf } from './overview.ts';
import type { ImageHistory, ImageUsage, OverlayState } from './overview.ts';
import { dependantsOf, PointVerbs, type VerbResult } from './points.ts';
import type { BuildRequest } from './recipes/debian-options.ts';
import { chainOf } from './references.ts';
import { finishGrowth, ReshapingVerbs } from './reshaping.ts';

/** An image with what only its file can tell. */
export type ImageDetails = {
  readonly image: Image;
  /** Bytes of disk space it takes; undefined for a device or a missing file. */
  readonly allocatedBytes?: number;
  /** False when the file or device is not there now. */
  readonly present: boolean;
  readonly users: readonly string[];
};

/**
 * The image library: every verb that makes, shows, changes or removes an image. Each is
 * all-or-nothing, even under kill -9 (see `LibraryFolder`); long ones report progress and obey an
 * AbortSignal; one at a time works on a chain (see `Jobs`).
 *
 * An image is a name for its head, the newest of a chain of layers (see `Layer`). What is frozen is
 * never written again; what is written is a layer on top. So to snapshot is to freeze the head and
 * begin a new one, to roll back is to begin a new one on an older layer, and both take a constant
 * time for every kind of disk.
 */
export class ImageLibrary {
  readonly #core: LibraryCore;
  readonly #making: MakingVerbs;
  readonly #points: PointVerbs;
  readonly #reshaping: ReshapingVerbs;
  readonly #checking: CheckingVerbs;
  readonly #overlays: MachineOverlays;

  private constructor(options: LibraryOptions) {
    this.#core = new LibraryCore(options);
    this.#making = new MakingVerbs(this.#core);
    this.#points = new PointVerbs(this.#core);
    this.#reshaping = new ReshapingVerbs(this.#core);
    this.#checking = new CheckingVerbs(this.#core);
    this.#overlays = new MachineOverlays(this.#core, this.#points);
  }

  /** Opens the library and finishes or undoes what a killed process left. */
  static open(options: LibraryOptions): ImageLibrary {
    const library = new ImageLibrary(options);
    const { folder, repository } = library.#core;
    const actions = folder.recover(repository);
    const growing = repository.layers().filter((layer) => layer.growTo !== undefined);
    if (growing.length > 0) repository.commit({ putLayers: growing.map(finishGrowth) });
    for (const layer of growing) actions.push(`settled the size of ${layer.path}`);
    for (const action of actions) options.log.warn({ action }, 'the image library was interrupted');
    return library;
  }

  /** All images, by name. */
  list(): readonly Image[] {
    return this.#core.repository.list();
  }

  /** One image. Throws UserError `image-unknown`. */
  get(name: string): Image {
    return this.#core.get(name);
  }

  has(name: string): boolean {
    return this.#core.repository.get(name) !== undefined;
  }

  /** One image with what its file tells. Throws UserError `image-unknown`. */
  show(name: string): ImageDetails {
    const image = this.get(name);
    const users = this.#core.options.usersOf(name);
    if (image.kind === 'nbd') return { image, present: true, users };
    const stat = statSync(image.path, { throwIfNoEntry: false });
    if (stat === undefined) return { image, present: false, users };
    if (!stat.isFile()) return { image, present: true, users };
    return { image, present: true, users, allocatedBytes: stat.blocks * 512 };
  }

  /** See `MakingVerbs`. */
  add(path: string, options: { name?: string; note?: string } = {}): Promise<Image> {
    return this.#making.add(path, options);
  }

  /** See `MakingVerbs`. */
  create(
    name: string,
    options: { preset: Preset; sizeBytes: number; label?: string; note?: string },
  ): Promise<Image> {
    return this.#making.create(name, options);
  }

  /** See `MakingVerbs`. */
  build(name: string, request: BuildRequest, work: ImageWork = {}): Promise<Image> {
    return this.#making.build(name, request, work);
  }

  /** See `MakingVerbs`. */
  clone(from: string, name: string, work: ImageWork = {}): Promise<Image> {
    return this.#making.clone(from, name, work);
  }

  /** See `importImage`. */
  import(path: string, options: ImportOptions = {}, work: ImageWork = {}): Promise<Image> {
    return importImage(this.#core, this.#making, path, options, work);
  }

  /** See `exportImage`. */
  export(
    from: string,
    path: string,
    options: ExportOptions = {},
    work: ImageWork = {},
  ): Promise<void> {
    return exportImage(this.#core, from, path, options, work);
  }

  /** See `PointVerbs`. */
  overlay(base: string, name: string, note?: string): Promise<VerbResult> {
    return this.#points.overlay(base, name, note);
  }

  /** See `PointVerbs`. */
  snapshot(name: string, comment?: string): Promise<VerbResult> {
    return this.#points.snapshot(name, comment);
  }

  /** See `PointVerbs`. */
  rollback(name: string, point?: number): Promise<VerbResult> {
    return this.#points.rollback(name, point);
  }

  /** See `PointVerbs`. */
  freeze(name: string, comment?: string): Promise<VerbResult> {
    return this.#points.freeze(name, comment);
  }

  /** See `PointVerbs`. */
  promote(source: string, comment?: string): Promise<VerbResult> {
    return this.#points.promote(source, comment);
  }

  /** See `ReshapingVerbs`. */
  flatten(name: string, work: ImageWork = {}): Promise<VerbResult> {
    return this.#reshaping.flatten(name, work);
  }

  /** See `ReshapingVerbs`; for a DOS disk, with what it must know of its geometry. */
  async resize(name: string, sizeBytes: number): Promise<VerbResult> {
    const result = await this.#reshaping.resize(name, sizeBytes);
    const warnings = await this.#checking.warnings(name);
    return { ...result, notes: [...result.notes, ...warnings] };
  }

  /** See `CheckingVerbs`. */
  inspect(name: string): Promise<DiskReport> {
    return this.#checking.inspect(name);
  }

  /** See `CheckingVerbs`. */
  check(name: string, work: ImageWork = {}): Promise<CheckReport> {
    return this.#checking.check(name, work);
  }

  /** See `CheckingVerbs`. */
  repair(
    name: string,
    options: { readonly geometry?: boolean } = {},
    work: ImageWork = {},
  ): Promise<CheckReport> {
    return this.#checking.repair(name, options, work);
  }

  /** Points of an image, and the overlays of machines on it. Throws UserError `image-unknown`. */
  history(name: string): ImageHistory {
    return historyOf(this.#core, name);
  }

  /** What each layer of an image takes, and who shares it. Throws UserError `image-unknown`. */
  usage(name: string): ImageUsage {
    return usageOf(this.#core, name);
  }

  /** The overlays of all machines, those that are gone included. */
  overlays(): OverlayState[] {
    return overlayStates(this.#core);
  }

  /** Changes the note. */
  annotate(name: string, note: string | undefined): Image {
    const { note: _old, ...rest } = this.get(name);
    this.#core.commit({ setImages: [note === undefined ? rest : { ...rest, note }] });
    return this.get(name);
  }

  /**
   * Removes an image and every layer that nothing else needs; files too when the library made them.
   * "NAME@NUMBER" forgets a point. Rejects with UserError `image-in-use` while anybody uses it or
   * anything stands on it, and says who.
   */
  async remove(name: string): Promise<void> {
    const { image, layer, point } = this.#core.named(name);
    if (point !== undefined) {
      await this.#points.forget(image.name, point.number);
      return;
    }
    const refuseUsed = (): void => {
      const users = [...this.#core.options.usersOf(name), ...dependantsOf(this.#core, name)];
      if (users.length > 0) throw inUse(name, users);
    };
    // Before anything is taken off a machine for it, and when nothing can change any more.
    refuseUsed();
    const claims = { change: [`image:${name}`, `layer:${layer.id}`] };
    await this.#core.jobs.run(`the removal of "${name}"`, claims, () =>
      this.#core.quiet(layer, name, 'the removal', () => {
        refuseUsed();
        this.#checking.refuseLocked(layer);
        const points = this.#core.pointsOf(name);
        this.#core.commit({ removeImages: [name], removePoints: points });
        return Promise.resolve();
      }),
    );
  }

  /** The disk behind a drive of a machine; see `MachineOverlays`. */
  diskOf(machine: DriveOwner, drive: Drive): DriveDisk | undefined {
    return this.#overlays.diskOf(machine, drive);
  }

  /** The layer that a drive writes (or reads first), also while a verb works on it. */
  layerOf(machine: DriveOwner, drive: Drive): string | undefined {
    return this.#overlays.layerOf(machine, drive);
  }

  /** What the image is made of, for whoever opens it elsewhere. Throws UserError. */
  sourceOf(name: string): DiskSource {
    const { layer } = this.#core.named(name);
    return sourceOf(chainOf(this.#core.repository, layer.id));
  }

  /** Throws UserError when the image does not admit a drive of that mode. */
  checkAttach(image: string, mode: Drive['mode']): void {
    this.#overlays.checkAttach(image, mode);
  }

  /** Throws UserError when the image is no ISO. */
  checkIso(image: string): void {
    const { kind } = this.get(image);
    if (kind === 'iso') return;
    throw new UserError('unsupported', 'image-kind', {
      what: `image "${image}" cannot be booted as an ISO`,
      why: `it is ${kind}, a disk`,
      todo: `attach it: --drive ${image}; or add the ISO file: polyboot image add FILE.iso`,
    });
  }

  /** A boot of a machine begins (`again`) or goes on; see `MachineOverlays`. */
  prepareBoot(machine: DriveOwner, drives: readonly Drive[], again: boolean): Promise<string[]> {
    return this.#overlays.prepare(machine, drives, again);
  }

  /**
   * Removes fresh overlays that no machine uses any more; `uses` tells whether the machine with
   * that id has an overlay drive of that image.
   */
  tidyOverlays(uses: (machine: string, image: string) => boolean): void {
    this.#overlays.tidy(uses);
  }

  /**
   * Says what the next boot does with the overlay of a machine; of one that no boot will look at,
   * `discard` removes it now. Throws UserError `overlay-unknown`.
   */
  wish(machine: string, image: string, wish: OverlayWish, attached: boolean): void {
    this.#overlays.wish(this.#overlayOf(machine, image), wish, attached);
  }

  /** Makes what a machine wrote the new version of the golden image. See `MachineOverlays`. */
  promoteOverlay(machine: string, image: string, comment?: string): Promise<VerbResult> {
    return this.#overlays.promote(this.#overlayOf(machine, image), comment);
  }

  /** By id of the machine, or by the name that a machine had which is gone. */
  #overlayOf(machine: string, image: string): MachineOverlay {
    const all = this.#core.repository.overlays().filter((o) => o.image === image);
    const gone = all.filter((o) => this.#core.options.machines?.nameOf(o.machine) === undefined);
    const found =
      all.find((o) => o.machine === machine) ?? gone.find((o) => o.machineName === machine);
    if (found !== undefined) return found;
    throw new UserError('not-found', 'overlay-unknown', {
      what: `there is no overlay of image "${image}" on that machine`,
      why: 'it has not booted with one yet, or it was discarded',
      todo: `polyboot image history ${image}`,
    });
  }
}

function inUse(name: string, users: readonly string[]): UserError {
  return new UserError('conflict', 'image-in-use', {
    what: `the image "${name}" cannot be removed`,
    why: `it is used by ${[...new Set(users)].join(', ')}`,
    todo: [
      'give those machines other drives first (polyboot machine set), flatten those images,',
      'and discard those overlays (polyboot image discard MACHINE)',
    ].join(' '),
  });
}
