import { existsSync } from 'node:fs';
import { messageOf, UserError } from '#base/mod.ts';
import type { DiskSource } from '#block/mod.ts';
import type { Drive, Machine } from '#machines/mod.ts';
import type { LibraryCore } from './core.ts';
import { sourceOf } from './disk-source.ts';
import { imageFrozen, imageNotFrozen, kindUnsupported } from './errors.ts';
import { withFrozen } from './freezing.ts';
import { hostBoot } from './host-boot.ts';
import type { Image } from './image.ts';
import type { Layer, MachineOverlay, OverlayWish } from './layer.ts';
import { commitNew, newOverlay } from './overlay-file.ts';
import { underRunning, type PointVerbs, type VerbResult } from './points.ts';
import { chainOf } from './references.ts';

/** Whom a drive belongs to. */
export type DriveOwner = Pick<Machine, 'id' | 'name'>;

/** One drive of one machine as it is to be served. */
export type DriveDisk = {
  readonly source: DiskSource;
  readonly readOnly: boolean;
  readonly cdrom: boolean;
  /** Durability contract 9: what is written need not outlive the power of this host. */
  readonly volatile: boolean;
  /** The layer that the machine writes, or the newest that it reads. */
  readonly layer: string;
};

/**
 * What each machine writes on top of images that others use too: made when the machine begins to
 * boot, served as long as that boot lasts (both logins of one boot see the same), replaced at the
 * next boot when the drive is `overlay-fresh`.
 */
export class MachineOverlays {
  readonly #core: LibraryCore;
  readonly #points: PointVerbs;
  readonly #hostBoot = hostBoot();

  constructor(core: LibraryCore, points: PointVerbs) {
    this.#core = core;
    this.#points = points;
  }

  /**
   * The disk behind a drive; undefined when there is none now: the image is gone, a verb works on
   * it, or the machine's overlay comes with its next boot.
   */
  diskOf(machine: DriveOwner, drive: Drive): DriveDisk | undefined {
    const image = this.#core.repository.get(drive.image);
    if (image === undefined) return undefined;
    const overlay = isOverlay(drive) ? this.#usable(machine.id, drive.image) : undefined;
    const id = isOverlay(drive) ? overlay?.layer : image.head;
    if (id === undefined) return undefined;
    const chain = chainOf(this.#core.repository, id);
    const [top] = chain;
    if (top === undefined || this.#core.isPaused(top.id)) return undefined;
    const cdrom = top.format === 'iso';
    return {
      source: sourceOf(chain),
      readOnly: cdrom || top.frozen !== undefined || drive.mode === 'shared',
      cdrom,
      volatile: overlay?.hostBoot !== undefined,
      layer: top.id,
    };
  }

  /** The layer that a drive writes (or reads first), also while a verb works on it. */
  layerOf(machine: DriveOwner, drive: Drive): string | undefined {
    if (isOverlay(drive)) return this.#usable(machine.id, drive.image)?.layer;
    return this.#core.repository.get(drive.image)?.head;
  }

  /** Throws UserError when the image does not admit a drive of that mode. */
  checkAttach(image: string, mode: Drive['mode']): void {
    const found = this.#core.get(image);
    if (mode === 'exclusive' && found.frozen) {
      throw new UserError('conflict', 'image-frozen', {
        what: `image "${image}" cannot belong to one machine`,
        why: 'it is a golden image: nobody writes it',
        todo: `attach it as ${image}:overlay-fresh, ${image}:overlay-kept or ${image}:shared`,
      });
    }
    if (mode !== 'overlay-fresh' && mode !== 'overlay-kept') return;
    if (found.kind === 'iso') throw kindUnsupported(image, 'iso', 'written by overlays');
    if (!found.frozen) throw imageNotFrozen(image, 'be used by overlays');
  }

  /**
   * A boot of the machine begins (`again`), or goes on: its drives get the overlays that they need.
   * Resolves to what could not be made, in words.
   */
  async prepare(machine: DriveOwner, drives: readonly Drive[], again: boolean): Promise<string[]> {
    const problems: string[] = [];
    for (const drive of drives) {
      if (!isOverlay(drive)) continue;
      try {
        await this.#prepareOne(machine, drive, again);
      } catch (e) {
        problems.push(messageOf(e));
      }
    }
    return problems;
  }

  /**
   * Says what the next boot does with the machine's overlay of an image. Where no boot will ever do
   * it (the machine is gone, or the drive), `discard` does it now. Throws UserError `image-busy`
   * while a boot or a promotion is at work on it.
   */
  wish(overlay: MachineOverlay, wish: OverlayWish, attached: boolean): void {
    const what = `what is to become of the overlay of machine "${overlay.machineName}"`;
    this.#core.jobs.refuseBusy(what, { change: [claimOf(overlay)] });
    if (wish === 'discard' && !attached) {
      this.#core.commit({ removeOverlays: [overlay] });
      return;
    }
    this.#core.commit({ putOverlays: [{ ...overlay, next: wish }] });
  }

  /**
   * Fresh overlays of drives that are gone go: nothing can make use of them any more. One that is
   * being promoted stays until the next time.
   */
  tidy(uses: (machine: string, image: string) => boolean): void {
    const gone = this.#core.repository
      .overlays()
      .filter((o) => o.hostBoot !== undefined && !uses(o.machine, o.image))
      .filter((o) => this.#core.jobs.admits({ change: [claimOf(o)] }));
    if (gone.length > 0) this.#core.commit({ removeOverlays: gone });
  }

  /**
   * Makes what a machine wrote the new version of the image below; the machine goes on, empty, on
   * that version. Rejects with UserError.
   */
  async promote(overlay: MachineOverlay, comment?: string): Promise<VerbResult> {
    const core = this.#core;
    const { image: name, machineName, next: _, ...rest } = overlay;
    const golden = core.get(name);
    const layer = core.layer(overlay.layer);
    const source = `what machine "${machineName}" wrote`;
    if (this.#points.goldenBelow(source, layer).name !== name) throw imageFrozen(name, 'promoted');
    const take = (): Promise<VerbResult> =>
      withFrozen(core, name, layer, async (frozen) => {
        const point = this.#points.newPoint(golden, frozen, comment ?? `from ${machineName}`);
        const top = await newOverlay(core, `${name}.${machineName}`, frozen);
        commitNew(core, top, {
          putLayers: [frozen, top],
          setImages: [{ ...core.get(name), head: frozen.id, lastPoint: point.number }],
          addPoints: [point],
          putOverlays: [{ ...rest, image: name, machineName, layer: top.id }],
        });
        const notes = this.#points.promotedNotes(name, point.number);
        return { image: core.get(name), notes };
      });
    const claims = {
      change: [`image:${name}`, `layer:${layer.id}`, claimOf(overlay)],
      read: [`layer:${golden.head}`],
    };
    return core.jobs.run(`the promotion of ${source}`, claims, () =>
      core.quiet(layer, name, 'a promotion', take, underRunning(core.held(layer, take))),
    );
  }

  /** The overlay, unless this host has lost what was never flushed, or its file. */
  #usable(machine: string, image: string): MachineOverlay | undefined {
    const overlay = this.#core.repository.overlay(machine, image);
    if (overlay?.hostBoot !== undefined && overlay.hostBoot !== this.#hostBoot) return undefined;
    return overlay;
  }

  async #prepareOne(machine: DriveOwner, drive: Drive, again: boolean): Promise<void> {
    const core = this.#core;
    const overlay = this.#usable(machine.id, drive.image);
    const fresh = drive.mode === 'overlay-fresh';
    const discard = again && (fresh ? overlay?.next !== 'keep' : overlay?.next === 'discard');
    const claims = {
      change: [claimOf({ machine: machine.id, image: drive.image })],
      read: [`layer:${core.get(drive.image).head}`],
    };
    await core.jobs.run(`the start of machine "${machine.name}"`, claims, async () => {
      if (overlay === undefined || discard) await this.#make(machine, drive.image, fresh);
      else if (again) this.#goOn(overlay, fresh);
    });
  }

  /**
   * The overlay stays: a wish is used up. One that is to be kept is served as an ordinary disk from
   * now on, so the system's own flushes make it outlive the power.
   */
  #goOn(overlay: MachineOverlay, fresh: boolean): void {
    const { next, hostBoot: volatile, ...rest } = overlay;
    const keep = volatile !== undefined && (!fresh || next === 'keep');
    if (next === undefined && !keep) return;
    const still = volatile === undefined || keep ? {} : { hostBoot: volatile };
    this.#core.commit({ putOverlays: [{ ...rest, ...still }] });
  }

  async #make(machine: DriveOwner, name: string, fresh: boolean): Promise<void> {
    const core = this.#core;
    const image = core.get(name);
    if (!image.frozen) throw imageNotFrozen(name, 'be used by overlays');
    // What need not outlive the power need not wait for the disk either.
    const top = await newOverlay(core, `${name}.${machine.name}`, core.layer(image.head));
    const overlay = {
      machine: machine.id,
      machineName: machine.name,
      image: name,
      layer: top.id,
      createdAtMs: core.options.clock.wallMs(),
      ...(fresh ? { hostBoot: this.#hostBoot } : {}),
    };
    commitNew(core, top, { putLayers: [top], putOverlays: [overlay] }, !fresh);
  }
}

/** The point of `image` that an overlay stands on, if its layer is one. */
export function pointBelow(core: LibraryCore, image: Image, layer: Layer): number | undefined {
  return core.pointsOf(image.name).find((point) => point.layer === layer.parent)?.number;
}

/** A boot that discards it, a wish and a promotion keep off each other. */
function claimOf({ machine, image }: Pick<MachineOverlay, 'machine' | 'image'>): string {
  return `overlay:${machine}:${image}`;
}

function isOverlay(drive: Drive): boolean {
  return drive.mode === 'overlay-fresh' || drive.mode === 'overlay-kept';
}

/** Whether the layer's file is there. */
export function isPresent(layer: Layer): boolean {
  return layer.format === 'nbd' || existsSync(layer.path);
}
