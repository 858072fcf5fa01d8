import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { DRIVE_MODES, type BootPlan, type Drive } from '#api/mod.ts';
import { messageOf } from '#base/mod.ts';
import { misused, type Call, type OptionSpec } from './command.ts';

const KINDS = ['san', 'kernel', 'iso', 'floppy', 'local', 'menu', 'script'] as const;

/** How a boot is described on the command line. */
export const PLAN_OPTIONS: readonly OptionSpec[] = [
  { flags: '--plan <KIND>', help: 'what it boots', choices: KINDS },
  { flags: '--kernel <FILE>', help: "kernel: file below the server's folder `files`, or a URL" },
  { flags: '--initrd <FILE>', help: 'initial RAM disk, in order', repeat: true },
  { flags: '--cmdline <TEXT>', help: 'kernel command line' },
  { flags: '--iso <IMAGE>', help: 'boot this ISO image over HTTP' },
  {
    flags: '--floppy <FILE>',
    help: 'boot this floppy image from memory (BIOS): file as above, or URL',
  },
  { flags: '--script-file <FILE>', help: 'boot by this iPXE script' },
];

export const DRIVE_OPTION: OptionSpec = {
  flags: '--drive <IMAGE[:MODE]>',
  help: 'a drive, in order from 0x80 on: exclusive (or no MODE), shared (read-only), overlay-fresh or overlay-kept; "none": no drives',
  repeat: true,
};

/** Options that belong to a kind of plan, and so may stand for it. */
const KIND_OF_OPTION = {
  kernel: 'kernel',
  initrd: 'kernel',
  cmdline: 'kernel',
  iso: 'iso',
  floppy: 'floppy',
  'script-file': 'script',
} as const;

/**
 * The plan that the options describe, undefined when they say nothing of one. What they leave
 * out of a kernel plan is taken from `old`. Throws `misused`.
 */
export function planFrom(call: Call, cwd: string, old?: BootPlan): BootPlan | undefined {
  const named = KINDS.find((kind) => kind === call.text('plan'));
  let kind = named;
  for (const [option, owner] of Object.entries(KIND_OF_OPTION)) {
    if (call.text(option) === undefined && call.list(option) === undefined) continue;
    if (kind !== undefined && kind !== owner)
      throw misused(`--${option} does not go with a ${kind} plan`);
    kind = owner;
  }
  switch (kind) {
    case undefined:
      return undefined;
    case 'kernel':
      return kernelPlan(call, old);
    case 'iso':
      return { kind, image: call.text('iso') ?? needed('iso', '--iso IMAGE') };
    case 'floppy':
      return { kind, file: call.text('floppy') ?? needed('floppy', '--floppy FILE') };
    case 'script': {
      const file = call.text('script-file') ?? needed('script', '--script-file FILE');
      return { kind, text: readText(cwd, file) };
    }
    case 'san':
    case 'local':
    case 'menu':
      return { kind };
  }
}

/** The drives that the options describe, undefined when they say nothing. Throws `misused`. */
export function drivesFrom(call: Call): Drive[] | undefined {
  const words = call.list('drive');
  if (words === undefined) return undefined;
  if (words.includes('none')) {
    if (words.length > 1) throw misused('--drive none does not go with other drives');
    return [];
  }
  return words.map((word) => {
    const [image = '', said = 'exclusive', more] = word.split(':');
    const mode = DRIVE_MODES.find((known) => known === said);
    if (mode === undefined || more !== undefined)
      throw misused(`"${word}" is no drive`, `write IMAGE, or IMAGE:${DRIVE_MODES.join('|')}`);
    return { image, mode };
  });
}

/** The text of a file that the person named. Throws `misused`. */
export function readText(cwd: string, file: string): string {
  try {
    return readFileSync(resolve(cwd, file), 'utf8');
  } catch (e) {
    throw misused(`${file} cannot be read: ${messageOf(e)}`);
  }
}

function kernelPlan(call: Call, old: BootPlan | undefined): BootPlan {
  const before = old?.kind === 'kernel' ? old : undefined;
  return {
    kind: 'kernel',
    kernel: call.text('kernel') ?? before?.kernel ?? needed('kernel', '--kernel FILE'),
    initrd: call.list('initrd') ?? before?.initrd ?? [],
    cmdline: call.text('cmdline') ?? before?.cmdline ?? '',
  };
}

function needed(kind: string, option: string): never {
  throw misused(`a ${kind} plan needs ${option}`);
}
