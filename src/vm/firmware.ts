import { existsSync } from 'node:fs';
import { EnvironmentError } from '#base/mod.ts';

/** UEFI for virtual machines: its code, and the template of its variables (copied per machine). */
export type UefiFirmware = { readonly code: string; readonly variables: string };

/**
 * Where distributions put EDK2 for x86-64; the 4 MiB build first, the 2 MiB one is being retired.
 */
const PLACES: readonly UefiFirmware[] = [
  { code: '/usr/share/OVMF/OVMF_CODE_4M.fd', variables: '/usr/share/OVMF/OVMF_VARS_4M.fd' },
  { code: '/usr/share/OVMF/OVMF_CODE.fd', variables: '/usr/share/OVMF/OVMF_VARS.fd' },
  {
    code: '/usr/share/edk2/x64/OVMF_CODE.4m.fd',
    variables: '/usr/share/edk2/x64/OVMF_VARS.4m.fd',
  },
  { code: '/usr/share/edk2/ovmf/OVMF_CODE.fd', variables: '/usr/share/edk2/ovmf/OVMF_VARS.fd' },
];

/** The first UEFI firmware that is installed. Throws EnvironmentError `ovmf-missing`. */
export function findUefiFirmware(exists: (path: string) => boolean = existsSync): UefiFirmware {
  const found = PLACES.find((p) => exists(p.code) && exists(p.variables));
  if (found !== undefined) return found;
  throw new EnvironmentError('ovmf-missing', {
    what: 'No UEFI firmware for virtual machines was found.',
    why: `None of these exists: ${PLACES.map((p) => p.code).join(', ')}.`,
    todo: 'Install it: apt-get install ovmf',
  });
}
