import { beacon } from './urls.ts';
import { sanWord, setBytes, shown } from './text.ts';
import type { LocalBoot, ScriptChap } from './types.ts';

/**
 * The parts that scripts are made of. Each is a list of lines; labels are unique by their prefix.
 */

/** What a step is called on the screen, in the report, and what to look at when it fails. */
export type Step = {
  readonly id: string;
  readonly name: string;
  readonly check: readonly string[];
};

/** Seconds between two attempts at a drive. */
const RETRY_SECONDS = 2;
/** How long the error screen waits before it tries again by itself. */
const AGAIN_MS = 30_000;
const QUESTION = `Press S for the iPXE shell. Trying again in ${AGAIN_MS / 1000} seconds.`;

/** Notes the step that comes next, for the error screen. */
export function enter(step: Step): string[] {
  return [
    `set step ${step.id}`,
    `set doing ${shown(step.name)}`,
    ...[0, 1].map((n) => `set check${n} ${shown(step.check[n] ?? '.')}`),
  ];
}

/** CHAP credentials as bytes. They stay set while drives are hooked: see `forget`. */
export function credentials(chap: ScriptChap | undefined): string[] {
  const none = forget();
  if (chap === undefined) return none;
  return [
    ...none,
    setBytes('username', chap.user),
    setBytes('password', chap.secret),
    ...(chap.mutualUser === undefined ? [] : [setBytes('reverse-username', chap.mutualUser)]),
    ...(chap.mutualSecret === undefined ? [] : [setBytes('reverse-password', chap.mutualSecret)]),
  ];
}

/**
 * Clears every credential. Not right after the hook: when a connection breaks, iPXE opens the drive
 * again from its URI and reads these settings anew (its sanboot.c, iscsi.c), so a DOS machine would
 * lose its disk at the server's first restart. They go when the drives go: before the error screen,
 * the menu and the shell.
 */
export function forget(): string[] {
  return ['username', 'password', 'reverse-username', 'reverse-password'].map(
    (name) => `clear ${name} ||`,
  );
}

/** Hooks one drive, with some attempts; goes on, or to the error screen. */
export function hookDrive(
  drive: number,
  uris: readonly string[],
  attempts: number,
  step: Step,
  describe: boolean,
): string[] {
  const number = driveName(drive);
  const words = uris.map((u) => sanWord(u)).join(' ');
  const options = `${describe ? '' : '--no-describe '}--drive ${number}`;
  return [
    ...enter(step),
    `set tries:int32 0`,
    `:hook_${number}`,
    `sanhook ${options} ${words} && goto hooked_${number} ||`,
    'set code ${errno:hexraw}',
    // A drive that was hooked and not described is taken already when it is tried again.
    `sanunhook --drive ${number} ||`,
    'inc tries',
    `iseq \${tries} ${attempts} && goto failed ||`,
    `echo Drive ${number}: attempt \${tries} of ${attempts} failed, trying again`,
    `sleep ${RETRY_SECONDS}`,
    `goto hook_${number}`,
    `:hooked_${number}`,
  ];
}

/** `0x80`, `0x81` … */
export function driveName(drive: number): string {
  return `0x${drive.toString(16)}`;
}

/**
 * The error screen: what was being done, iPXE's own number, what to look at; then again by itself,
 * or the shell. `failed` expects `code`; `failed_now` takes it from the command that just failed.
 */
export function failureScreen(drives: readonly number[]): string[] {
  return [
    ':failed_now',
    'set code ${errno:hexraw}',
    ':failed',
    // With keep-san set, sanunhook answers "Preserving SAN device" and the next hook fails.
    'clear keep-san ||',
    ...drives.map((d) => `sanunhook --drive ${driveName(d)} ||`),
    ...forget(),
    ...beacon('stage=failed&step=${step}&error=${code}'),
    'echo',
    'echo Polyboot: this machine could not boot.',
    'echo Step:   ${doing}',
    'echo Error:  http://ipxe.org/${code}',
    'echo Check:  ${check0}',
    'echo Check:  ${check1}',
    'echo Server: ${base} (polyboot watch shows what it saw)',
    'echo',
    `prompt --key s --timeout ${AGAIN_MS} ${QUESTION} && goto shell || goto again`,
    ...shellAndAgain(),
  ];
}

/** `shell` and `again`: the shell comes back to the script, which is fetched anew. */
export function shellAndAgain(): string[] {
  return [
    ':shell',
    ...forget(),
    'echo Type exit to go on.',
    'shell ||',
    ':again',
    'chain --replace --autofree ${script} ||',
    'echo The server does not answer. Trying again in 5 seconds.',
    'sleep 5',
    'goto again',
  ];
}

/**
 * Leaves for the local disk. On BIOS the first disk is started directly, which works where `exit`
 * ends in "no bootable device"; when that fails the firmware goes on with its own list. On UEFI the
 * status 1 makes the boot manager try its next entry (UEFI 2.10 §3.1.2: after success it may stop
 * at its menu).
 */
export function localDisk(method: LocalBoot = 'auto'): string[] {
  const direct = 'sanboot --no-describe --drive 0x80 ||';
  const leave = 'iseq ${platform} pcbios && exit 0 || exit 1';
  const say = 'echo Going on with the local disk.';
  if (method === 'exit') return [say, leave];
  if (method === 'san') return [say, direct, leave];
  return [say, 'iseq ${platform} pcbios || goto local_leave', direct, ':local_leave', leave];
}
