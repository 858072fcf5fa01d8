import { InternalError, UserError } from '#base/mod.ts';
import type { DiskFormat } from './formats.ts';
import type { ImageWork } from './image.ts';
import type { Layer } from './layer.ts';
import { runTool } from './tool.ts';

/** Address space that qemu-img may take: an order more than it needs for its largest tables. */
const MEMORY_BYTES = 4 * 2 ** 30;

/** Options of QEMU's block layer as text: `a.b=c,…`; a comma in a value is written twice. */
function imageOpts(options: Readonly<Record<string, string>>): string {
  return Object.entries(options)
    .map(([key, value]) => `${key}=${value.replaceAll(',', ',,')}`)
    .join(',');
}

/**
 * A file as exactly that format in exactly that file, as `json:` name for qemu-img: nothing is
 * probed, a name that begins with `json:` or `nbd:` is the name of a file, and a vmdk has no parent
 * whatever it says.
 */
export function fileName(path: string, format: DiskFormat): string {
  const file = { driver: 'file', filename: path };
  const alone = format === 'vmdk' ? { backing: null } : {};
  return `json:${JSON.stringify({ driver: format, file, ...alone })}`;
}

/** A chain (from the top down) as our records have it; what stands in the files does not count. */
export function chainOpts(chain: readonly Layer[]): string {
  const options: Record<string, string> = {};
  chain.forEach((layer, level) => {
    const prefix = 'backing.'.repeat(level);
    if (layer.format === 'nbd') throw new InternalError('an NBD export is no file');
    options[`${prefix}driver`] = layer.format === 'qcow2' ? 'qcow2' : 'raw';
    options[`${prefix}file.driver`] = layer.format === 'block' ? 'host_device' : 'file';
    options[`${prefix}file.filename`] = layer.path;
  });
  return imageOpts(options);
}

/** A raw file that we hold locked ourselves, as a target. */
export function lockedRawOpts(path: string): string {
  return imageOpts({
    driver: 'raw',
    'file.driver': 'file',
    'file.filename': path,
    'file.locking': 'off',
  });
}

/** Size of the disk in a file. Rejects with UserError `format-wrong`, EnvironmentError. */
export async function qemuImgSize(
  path: string,
  format: DiskFormat,
  work: ImageWork,
): Promise<number> {
  const lines: string[] = [];
  const args = ['info', '--output=json', fileName(path, format)];
  await qemuImg(args, work, (line) => lines.push(line));
  const text = lines.join('\n');
  const info: unknown = JSON.parse(text.slice(text.indexOf('{'), text.lastIndexOf('}') + 1));
  const size =
    typeof info === 'object' && info !== null && 'virtual-size' in info
      ? info['virtual-size']
      : undefined;
  if (typeof size === 'number' && Number.isSafeInteger(size) && size > 0) return size;
  throw new UserError('invalid', 'format-wrong', { what: `${path} does not say how large it is` });
}

/**
 * Runs qemu-img within bounds of memory; with `-p` among the arguments its percentages become
 * progress of `totalBytes`. Rejects with EnvironmentError `tool-missing`, `tool-failed`, or the
 * signal's reason.
 */
export async function qemuImg(
  args: readonly string[],
  work: ImageWork,
  onLine?: (line: string) => void,
  totalBytes = 0,
): Promise<void> {
  await runTool({
    command: 'qemu-img',
    args,
    debianPackage: 'qemu-utils',
    limits: [`--as=${MEMORY_BYTES}`],
    ...(work.signal === undefined ? {} : { signal: work.signal }),
    line: (line) => {
      const percent = /\((\d+(?:\.\d+)?)\/100%\)/.exec(line)?.[1];
      if (percent === undefined) onLine?.(line);
      else {
        const doneBytes = Math.round((Number(percent) / 100) * totalBytes);
        work.progress?.({ phase: 'convert', doneBytes, totalBytes });
      }
    },
  });
}
