import { UserError } from '#base/mod.ts';
import type { LibraryCore } from './core.ts';
import { imageFrozen, imageNotFrozen, kindUnsupported, pointUnknown } from './errors.ts';
import { withFrozen } from './freezing.ts';
import type { Image, ImageRecord } from './image.ts';
import type { ImagePoint, Layer } from './layer.ts';
import type { LiveDisks } from './live-disks.ts';
import { commitNew, newOverlay } from './overlay-file.ts';
import { referrers } from './references.ts';

/** What a verb did, with what its caller should know. */
export type VerbResult = { readonly image: Image; readonly notes: readonly string[] };

/** The verbs that make, name and return to states of an image. All take a constant time. */
export class PointVerbs {
  readonly #core: LibraryCore;

  constructor(core: LibraryCore) {
    this.#core = core;
  }

  /**
   * Keeps the present state as a point that can be returned to: the layer that was written is
   * frozen, and a new one is written from now on. Rejects with UserError.
   */
  async snapshot(name: string, comment?: string): Promise<VerbResult> {
    const core = this.#core;
    const image = core.get(name);
    if (image.frozen) throw imageFrozen(name, 'given a snapshot');
    const head = core.layer(image.head);
    const take = (): Promise<VerbResult> =>
      withFrozen(core, name, head, async (frozen) => {
        const top = await newOverlay(core, name, frozen);
        const point = this.#point(image, frozen, comment);
        commitNew(core, top, {
          putLayers: [frozen, top],
          setImages: [{ ...core.get(name), head: top.id, lastPoint: point.number }],
          addPoints: [point],
        });
        return this.#done(name, [`point ${point.number} is kept`]);
      });
    return this.#changing(`a snapshot of "${name}"`, image, () =>
      core.quiet(head, name, 'a snapshot', take, underRunning(core.held(head, take))),
    );
  }

  /**
   * Returns to a point (the newest when none is named; for an overlay without points: to its base).
   * What was written since is gone; later points stay. A golden image stays golden: its present
   * version becomes that point. Rejects with UserError.
   */
  async rollback(name: string, number?: number): Promise<VerbResult> {
    const core = this.#core;
    const image = core.get(name);
    const head = core.layer(image.head);
    const target = this.#target(image, head, number);
    const to = number === undefined ? 'its newest point' : `point ${number}`;
    return this.#changing(`the return of "${name}" to ${to}`, image, async () => {
      if (image.frozen) {
        core.commit({ setImages: [{ ...image, head: target.id }] });
        return this.#done(name, this.#movedNotes(name, target));
      }
      return core.quiet(head, name, 'a rollback', async () => {
        const top = await newOverlay(core, name, target);
        const now = core.get(name);
        commitNew(core, top, { putLayers: [top], setImages: [{ ...now, head: top.id }] });
        return this.#done(name, []);
      });
    });
  }

  /**
   * Makes the image a golden one: nobody writes it any more, and overlays may stand on it. Its
   * state becomes a point: its first version. Rejects with UserError.
   */
  async freeze(name: string, comment?: string): Promise<VerbResult> {
    const core = this.#core;
    const image = core.get(name);
    if (image.frozen) return this.#done(name, ['it was frozen already']);
    this.#refuseWriters(name);
    const head = core.layer(image.head);
    return this.#changing(`the freezing of "${name}"`, image, () =>
      core.quiet(head, name, 'the freezing', () =>
        withFrozen(core, name, head, (frozen) => {
          // Somebody may have been given it meanwhile.
          this.#refuseWriters(name);
          const point = this.#point(image, frozen, comment);
          core.commit({
            putLayers: [frozen],
            setImages: [{ ...core.get(name), lastPoint: point.number }],
            addPoints: [point],
          });
          return Promise.resolve(this.#done(name, [`its state is version ${point.number}`]));
        }),
      ),
    );
  }

  /** A new image that stands on a golden one, or on a point of any. Rejects with UserError. */
  async overlay(base: string, name: string, note?: string): Promise<VerbResult> {
    const core = this.#core;
    const { image, layer } = core.named(base);
    core.checkNew(name);
    if (layer.format === 'iso') throw kindUnsupported(image.name, 'iso', 'the base of an overlay');
    if (layer.frozen === undefined) throw imageNotFrozen(image.name, 'have overlays');
    const claims = { change: [`image:${name}`], read: [`layer:${layer.id}`] };
    return core.jobs.run(`the making of "${name}"`, claims, async () => {
      const top = await newOverlay(core, name, layer);
      const record = {
        name,
        head: top.id,
        createdAtMs: core.options.clock.wallMs(),
        lastPoint: 0,
        source: `overlay of ${base}`,
        ...(note === undefined ? {} : { note }),
      };
      commitNew(core, top, { putLayers: [top], addImages: [record] });
      return this.#done(name, []);
    });
  }

  /**
   * Forgets a point; the space goes when nothing else needs the layer. Throws UserError for the
   * present version of a golden image.
   */
  async forget(name: string, number: number): Promise<void> {
    const core = this.#core;
    const image = core.get(name);
    const point = core.pointsOf(name).find((p) => p.number === number);
    if (point === undefined) throw pointUnknown(name, number);
    if (point.layer === image.head) {
      throw new UserError('conflict', 'point-in-use', {
        what: `point ${number} of image "${name}" cannot be forgotten`,
        why: 'it is the present version',
        todo: `return to another first: polyboot image rollback ${name} NUMBER`,
      });
    }
    await this.#changing(`the forgetting of point ${number} of "${name}"`, image, () => {
      core.commit({ removePoints: [{ image: name, number }] });
      return Promise.resolve();
    });
  }

  /**
   * Makes what was written on an overlay the new version of the golden image below it. Others move
   * to it at their next boot; kept overlays of older versions stay on those until discarded.
   * `source`: the name of an image that stands on the golden one. It goes on, empty, on the new
   * version. Rejects with UserError.
   */
  async promote(source: string, comment?: string): Promise<VerbResult> {
    const core = this.#core;
    const image = core.get(source);
    if (image.frozen) throw imageFrozen(source, 'promoted');
    const head = core.layer(image.head);
    const golden = this.goldenBelow(source, head);
    const claims = {
      change: [`image:${source}`, `layer:${head.id}`, `image:${golden.name}`],
      read: [`layer:${golden.head}`],
    };
    const take = (): Promise<VerbResult> =>
      withFrozen(core, source, head, async (frozen) => {
        const top = await newOverlay(core, source, frozen);
        const point = this.#point(golden, frozen, comment ?? `from ${source}`);
        commitNew(core, top, {
          putLayers: [frozen, top],
          setImages: [
            { ...core.get(golden.name), head: frozen.id, lastPoint: point.number },
            { ...core.get(source), head: top.id },
          ],
          addPoints: [point],
        });
        return this.#done(golden.name, this.promotedNotes(golden.name, point.number));
      });
    return core.jobs.run(`the promotion of "${source}"`, claims, () =>
      core.quiet(head, source, 'a promotion', take, underRunning(core.held(head, take))),
    );
  }

  /**
   * The golden image whose present version the layer stands on. Throws UserError `not-promotable`
   * when there is none, also because the golden one has moved on meanwhile: that change would be
   * lost.
   */
  goldenBelow(source: string, head: Layer): Image {
    const core = this.#core;
    const below = new Set<string>();
    for (let id = head.parent; id !== undefined; id = core.layer(id).parent) below.add(id);
    const candidates = core.repository.list().filter((i) => i.name !== source && i.frozen);
    const golden = candidates.find((i) => below.has(i.head));
    if (golden !== undefined) return golden;
    const older = core.repository.points().find((p) => below.has(p.layer) && p.image !== source);
    throw new UserError('conflict', 'not-promotable', {
      what: `"${source}" cannot be promoted`,
      why:
        older === undefined
          ? 'it stands on no golden image'
          : `it stands on point ${older.number} of "${older.image}", which has moved on since`,
      todo:
        older === undefined
          ? 'make one of it: polyboot image freeze'
          : `make the change again on an overlay of its present version, or keep it as an image of its own: polyboot image clone ${source} NEW`,
    });
  }

  /** What the owner of a golden image should know after a promotion. */
  promotedNotes(golden: string, number: number): string[] {
    return [
      `version ${number} is in force: machines with a fresh overlay get it at their next boot`,
      ...this.#movedNotes(golden, this.#core.layer(this.#core.get(golden).head)),
    ];
  }

  /** A new point of `image`, not yet recorded. */
  newPoint(image: ImageRecord, layer: Layer, comment?: string): ImagePoint {
    return this.#point(image, layer, comment);
  }

  /** Kept overlays do not move with the image. */
  #movedNotes(name: string, present: Layer): string[] {
    const core = this.#core;
    return core.repository
      .overlays()
      .filter((o) => o.image === name && o.hostBoot === undefined)
      .filter((o) => core.layer(o.layer).parent !== present.id)
      .map((o) => core.ownerOf(o))
      .map(
        (owner) =>
          `machine "${owner}" keeps its overlay of an older version until it is discarded ` +
          `(polyboot image discard ${owner})`,
      );
  }

  #target(image: Image, head: Layer, number: number | undefined): Layer {
    const points = this.#core.pointsOf(image.name);
    const point = number === undefined ? points.at(-1) : points.find((p) => p.number === number);
    if (point !== undefined) return this.#core.layer(point.layer);
    if (number === undefined && head.parent !== undefined) return this.#core.layer(head.parent);
    throw pointUnknown(image.name, number ?? 'to return to');
  }

  #refuseWriters(name: string): void {
    const holders = this.#core.options.machines?.holdersOf(name) ?? [];
    const writer = holders.find((holder) => holder.mode === 'exclusive');
    if (writer === undefined) return;
    throw new UserError('conflict', 'image-in-use', {
      what: `image "${name}" cannot be frozen`,
      why: `machine "${writer.machine}" has it exclusively, to write to`,
      todo:
        'take it away there first (polyboot machine set … --drive none), ' +
        `and give it back as ${name}:overlay-kept after`,
    });
  }

  #changing<T>(what: string, image: Image, work: () => Promise<T>): Promise<T> {
    // A layer that is frozen already does not change: machines boot from it meanwhile.
    const layers = image.frozen ? [] : [`layer:${image.head}`];
    return this.#core.jobs.run(what, { change: [`image:${image.name}`, ...layers] }, work);
  }

  #point(image: ImageRecord, layer: Layer, comment: string | undefined): ImagePoint {
    return {
      image: image.name,
      number: image.lastPoint + 1,
      layer: layer.id,
      createdAtMs: this.#core.options.clock.wallMs(),
      ...(comment === undefined ? {} : { comment }),
    };
  }

  #done(name: string, notes: readonly string[]): VerbResult {
    return { image: this.#core.get(name), notes };
  }
}

/** The same under a running system, with what its owner must know of that. */
export function underRunning(
  work: (live: LiveDisks) => Promise<VerbResult> | undefined,
): (live: LiveDisks) => Promise<VerbResult> | undefined {
  return (live) =>
    work(live)?.then((result) => ({ ...result, notes: [...result.notes, CRASH_CONSISTENT] }));
}

const CRASH_CONSISTENT =
  'a system ran from it: this is the disk as a power cut would have left it at that moment';

/**
 * What keeps an image from being removed, in words: overlays of machines, and whatever stands on a
 * golden one. The layers of any other image stay as long as somebody stands on them, whether it is
 * removed or not.
 */
export function dependantsOf(core: LibraryCore, name: string): string[] {
  const image = core.get(name);
  const layers = new Set([image.head, ...core.pointsOf(name).map((p) => p.layer)]);
  const above = image.frozen ? [...layers].flatMap(referrers(core.repository, name)) : [];
  const overlays = core.repository.overlays().filter((o) => o.image === name);
  const machines = overlays.map((o) => `the overlay of machine "${core.ownerOf(o)}"`);
  return [...new Set([...above, ...machines])];
}
