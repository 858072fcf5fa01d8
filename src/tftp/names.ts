import { isUtf8 } from 'node:buffer';

/**
 * What clients really ask for. `name` has one character per byte, as the wire had it. Returns the
 * paths to try, in order, relative to the root; empty when nothing is left of the name.
 *
 * - trailing 0xFF, blanks and control characters go: a ROM pads the name with what stood behind it;
 * - `\` is `/`, for Windows' boot programs; leading slashes go: the root is ours to choose;
 * - `name.0` and other layers stand for `name` when there is no such file: PXE clients that were
 *   given a menu item append the layer (dnsmasq serves the base name too).
 */
export function candidatePaths(name: string): string[] {
  const bytes = Buffer.from(name.replace(/[\s\u0000-\u001f\u007f\u00ff]+$/u, ''), 'latin1');
  // Names are bytes; modern clients mean UTF-8 when it is valid.
  const text = isUtf8(bytes) ? bytes.toString('utf8') : bytes.toString('latin1');
  const path = text.replaceAll('\\', '/').replace(/^(?:\.?\/)+/, '');
  if (path === '') return [];
  const base = path.replace(/\.\d{1,3}$/, '');
  return base === path || base === '' || base.endsWith('/') ? [path] : [path, base];
}
