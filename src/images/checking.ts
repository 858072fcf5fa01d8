import { statSync } from 'node:fs';
import { checkQcow2, type Qcow2Report } from '#block/mod.ts';
import { messageOf, PolybootError, UserError } from '#base/mod.ts';
import { inspectDisk, repairGeometry, type DiskReport } from '#disk/mod.ts';
import { lockImage } from '#os/mod.ts';
import type { LibraryCore } from './core.ts';
import { onSectors, withDisk } from './device-io.ts';
import { sourceOf } from './disk-source.ts';
import { DiskFile } from './disk-file.ts';
import { imageFrozen } from './errors.ts';
import type { ImageWork } from './image.ts';
import type { Layer } from './layer.ts';
import { chainOf } from './references.ts';

/**
 * One thing that a check found. `error`: data is or will be lost; `warning`: it can be lived with.
 */
export type CheckProblem = {
  readonly severity: 'error' | 'warning';
  /** Stable. */
  readonly code: string;
  readonly text: string;
};

/** What a check or a repair found and did. */
export type CheckReport = {
  readonly image: string;
  readonly problems: readonly CheckProblem[];
  /** What was mended, in words. */
  readonly fixed: readonly string[];
};

/** The verbs that look into images. */
export class CheckingVerbs {
  readonly #core: LibraryCore;

  constructor(core: LibraryCore) {
    this.#core = core;
  }

  /**
   * Looks into an image, or a point of one: partitions, geometry, what boots, warnings; also while
   * a machine runs from it, whose commands wait for the moment that it takes. Rejects with
   * UserError `image-in-use` where they cannot.
   */
  async inspect(name: string): Promise<DiskReport> {
    const { layer } = this.#core.named(name);
    if (layer.format !== 'qcow2' && layer.format !== 'nbd') return inspectFile(layer.path);
    const source = sourceOf(chainOf(this.#core.repository, layer.id));
    const look = (): Promise<DiskReport> =>
      withDisk(source, 'read', (device) => onSectors(device, inspectDisk));
    return this.#core.quiet(layer, name, 'a look', look, this.#core.held(layer, look));
  }

  /** The warnings of `inspect`; none when the image cannot be looked at just now. */
  async warnings(name: string): Promise<string[]> {
    try {
      return (await this.inspect(name)).warnings.map(({ text }) => text);
    } catch (e) {
      if (e instanceof UserError && e.code === 'image-in-use') return [];
      throw e;
    }
  }

  /**
   * Checks every layer (there, unchanged if frozen, structure sound) and the partitions of the
   * disk. Reads only. Rejects with UserError `image-in-use`, the abort reason.
   */
  async check(name: string, work: ImageWork = {}): Promise<CheckReport> {
    const core = this.#core;
    const { image, layer } = core.named(name);
    const chain = chainOf(core.repository, layer.id);
    const claims = { read: [`image:${image.name}`, ...chain.map((l) => `layer:${l.id}`)] };
    return core.jobs.run(`the check of "${name}"`, claims, () =>
      this.#readable(layer, image.name, 'a check', async () => {
        const problems: CheckProblem[] = [];
        for (const each of chain) problems.push(...(await checkLayer(each, work)));
        if (!problems.some(({ severity }) => severity === 'error'))
          problems.push(...(await checkContent(chain)));
        return { image: name, problems, fixed: [] };
      }),
    );
  }

  /**
   * Mends what can be mended in the layer that is written: the structure of a qcow2 file, and with
   * `geometry` the partition table and boot sectors of a DOS disk. Then checks. Rejects with
   * UserError: golden, in use, nothing to mend.
   */
  async repair(
    name: string,
    options: { readonly geometry?: boolean },
    work: ImageWork = {},
  ): Promise<CheckReport> {
    const core = this.#core;
    const image = core.get(name);
    if (image.frozen || image.kind === 'iso') throw imageFrozen(name, 'repaired');
    const head = core.layer(image.head);
    const chain = chainOf(core.repository, head.id);
    const claims = { change: [`image:${name}`, `layer:${head.id}`] };
    const fixed = await core.jobs.run(`the repair of "${name}"`, claims, () =>
      core.quiet(head, name, 'a repair', async () => {
        const done = head.format === 'qcow2' ? await repairQcow2(head, work) : [];
        if (options.geometry === true) {
          const geometry = withDisk(sourceOf(chain), 'write', (device) =>
            onSectors(device, repairGeometry),
          );
          done.push(...(await geometry));
        }
        return done;
      }),
    );
    return { ...(await this.check(name, work)), fixed };
  }

  /** Throws UserError `image-in-use` while another program has the file. */
  refuseLocked(layer: Layer): void {
    if (layer.frozen !== undefined || layer.format === 'nbd' || layer.format === 'iso') return;
    if (statSync(layer.path, { throwIfNoEntry: false }) === undefined) return;
    const file = DiskFile.open(layer.path, 'write');
    try {
      lockImage(file.fd, 'exclusive');
    } finally {
      file.close();
    }
  }

  /** A disk that a machine has can still be looked at when it only reads it. */
  #readable<T>(layer: Layer, name: string, verb: string, work: () => Promise<T>): Promise<T> {
    if (layer.format === 'iso') return work();
    return this.#core.quiet(layer, name, verb, work);
  }
}

function inspectFile(path: string): DiskReport {
  const file = DiskFile.open(path);
  try {
    return inspectDisk(file);
  } finally {
    file.close();
  }
}

async function repairQcow2(layer: Layer, work: ImageWork): Promise<string[]> {
  const report = await checkQcow2(layer.path, { repair: 'all', ...checkOptions(layer, work) });
  const { errorsFixed, leaksFixed } = report;
  return [
    ...(errorsFixed === 0 ? [] : [`${errorsFixed} faults of the structure of ${layer.path}`]),
    ...(leaksFixed === 0 ? [] : [`${leaksFixed} clusters that nothing used`]),
  ];
}

async function checkLayer(layer: Layer, work: ImageWork): Promise<CheckProblem[]> {
  if (layer.format === 'nbd') return [];
  const stat = statSync(layer.path, { throwIfNoEntry: false });
  if (stat === undefined) return [error('layer-missing', `${layer.path} is not there.`)];
  if (stat.isFile() && layer.format === 'raw' && stat.size < layer.sizeBytes) {
    const text = `${layer.path} has ${stat.size} bytes and should have ${layer.sizeBytes}.`;
    return [error('layer-short', text)];
  }
  const { frozen } = layer;
  const problems: CheckProblem[] = [];
  if (
    frozen !== undefined &&
    (frozen.inode !== stat.ino ||
      frozen.sizeBytes !== stat.size ||
      frozen.mtimeMs !== Math.floor(stat.mtimeMs))
  ) {
    const text = `${layer.path} was changed after it was frozen: what stands on it is not opened.`;
    problems.push(error('base-changed', text));
  }
  if (layer.format === 'qcow2') {
    const report = await guarded(() => checkQcow2(layer.path, checkOptions(layer, work)));
    problems.push(...('problem' in report ? [report.problem] : qcow2Problems(layer, report)));
  }
  return problems;
}

function qcow2Problems(layer: Layer, report: Qcow2Report): CheckProblem[] {
  const { errors, leaks, findings } = report;
  const details = findings.slice(0, 3).join('; ');
  return [
    ...(errors === 0
      ? []
      : [error('qcow2-errors', `${layer.path}: ${errors} faults of structure. ${details}`)]),
    ...(leaks === 0
      ? []
      : [warning('qcow2-leaks', `${layer.path}: ${leaks} clusters take space and hold nothing.`)]),
  ];
}

async function checkContent(chain: readonly Layer[]): Promise<CheckProblem[]> {
  const report = await guarded(() =>
    withDisk(sourceOf(chain), 'read', (device) => onSectors(device, inspectDisk)),
  );
  if ('problem' in report) return [report.problem];
  return report.warnings.map(({ code, text }) => warning(code, text));
}

/** What `work` finds, or its failure as a finding; an abort stays one. */
async function guarded<T extends object>(
  work: () => Promise<T>,
): Promise<T | { problem: CheckProblem }> {
  try {
    return await work();
  } catch (e) {
    if (!(e instanceof PolybootError)) throw e;
    return { problem: error(e.code, messageOf(e)) };
  }
}

function checkOptions(layer: Layer, work: ImageWork): Parameters<typeof checkQcow2>[1] {
  const totalBytes = layer.sizeBytes;
  return {
    ...(work.signal === undefined ? {} : { signal: work.signal }),
    progress: (fraction) => {
      const doneBytes = Math.round(fraction * totalBytes);
      work.progress?.({ phase: 'check', doneBytes, totalBytes });
    },
  };
}

function error(code: string, text: string): CheckProblem {
  return { severity: 'error', code, text };
}

function warning(code: string, text: string): CheckProblem {
  return { severity: 'warning', code, text };
}
