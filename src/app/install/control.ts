import { once } from 'node:events';
import { connect } from 'node:net';
import { EnvironmentError, systemClock, UserError } from '#base/mod.ts';
import type { InstallAction } from '#cli/mod.ts';
import { QmpClient, QmpError, readTextScreen, saveScreenPicture, typeKeys } from '#vm/mod.ts';
import { checkMedium } from './media.ts';
import type { InstallSession } from './sessions.ts';

/**
 * Does it; resolves to what there is to say about it. Throws UserError (no such drive, key or
 * folder, a file that is no such medium) or EnvironmentError (the installation ended meanwhile).
 */
export async function steer(session: InstallSession, action: InstallAction): Promise<string> {
  const qmp = await connectTo(session);
  try {
    return await perform(qmp, session, action);
  } catch (e) {
    throw e instanceof QmpError ? refused(e, session) : e;
  } finally {
    qmp.close();
  }
}

/** QEMU's refusal in our words: its own say what it did not take, such as a key or a file. */
function refused(cause: QmpError, session: InstallSession): Error {
  if (cause.errorClass === 'Timeout' || cause.errorClass === 'Closed') return gone(session, cause);
  const todo =
    cause.command === 'send-key'
      ? 'keys have QEMU’s names: <ret>, <esc>, <f3>, <up>, <ctrl+alt+delete>'
      : 'look at the name and the path, and try again';
  const what = 'the virtual machine does not take that';
  return new UserError('invalid', 'install-refused', { what, why: cause.message, todo }, { cause });
}

async function perform(
  qmp: QmpClient,
  session: InstallSession,
  action: InstallAction,
): Promise<string> {
  switch (action.kind) {
    case 'swap':
      return await swap(qmp, session, action.drive, action.file);
    case 'eject':
      await checkDrive(qmp, action.drive);
      await qmp.execute('eject', { id: action.drive, force: true });
      return `${action.drive} is empty`;
    case 'picture':
      await saveScreenPicture(qmp, action.file);
      return `the screen is in ${action.file}`;
    case 'text':
      return (await readTextScreen(qmp, session.folder)).join('\n').trimEnd();
    case 'type':
      await typeKeys(qmp, action.keys);
      return 'typed';
    case 'power-button':
      await qmp.execute('system_powerdown');
      return 'the power button was pressed; what follows is up to the guest';
    case 'stop':
      // QEMU may close the socket before it answers; that is what was asked for.
      await qmp.execute('quit').catch(() => undefined);
      return 'the machine is off';
  }
}

/** The word that means the floppy after the last one that was put in. */
const NEXT = 'next';

async function swap(
  qmp: QmpClient,
  session: InstallSession,
  drive: string,
  wanted: string,
): Promise<string> {
  const inside = await checkDrive(qmp, drive);
  const file = wanted === NEXT ? nextFloppy(session, inside) : wanted;
  const isFloppy = drive.startsWith('floppy');
  checkMedium(file, isFloppy ? 'floppy' : 'cdrom');
  await qmp.execute('blockdev-change-medium', {
    id: drive,
    filename: file,
    // Said, not probed: a guest could write another format's header onto its floppy.
    format: 'raw',
    'read-only-mode': isFloppy && session.writableFloppies ? 'read-write' : 'read-only',
  });
  return `${file} is in ${drive}`;
}

function nextFloppy(session: InstallSession, inside: string | undefined): string {
  const at = session.floppies.indexOf(inside ?? '');
  const next = session.floppies[at + 1];
  if (next !== undefined) return next;
  throw new UserError('invalid', 'floppy-last', {
    what: 'there is no floppy after this one',
    why: `--floppy named ${session.floppies.length}`,
    todo: 'name the file: polyboot install swap floppy0 FILE',
  });
}

/** What `query-block` says of a removable drive, as far as it is used here. */
type BlockInfo = {
  readonly qdev?: string;
  readonly removable: boolean;
  readonly inserted?: { readonly image: { readonly filename: string } };
};

/** The file that is in the drive. Throws UserError `drive-unknown`, naming those there are. */
async function checkDrive(qmp: QmpClient, drive: string): Promise<string | undefined> {
  // QEMU's schema promises this shape (BlockInfo).
  const all = (await qmp.execute('query-block')) as readonly BlockInfo[];
  const removable = all.filter((b) => b.removable);
  const idOf = (b: BlockInfo): string => (b.qdev ?? '').split('/').at(-1) ?? '';
  const found = removable.find((b) => idOf(b) === drive);
  if (found !== undefined) return found.inserted?.image.filename;
  const names = removable.map(idOf).filter((n) => n !== '');
  throw new UserError('not-found', 'drive-unknown', {
    what: `the machine has no drive "${drive}" whose medium can be changed`,
    why: `it has ${names.join(', ') || 'none'}`,
  });
}

async function connectTo(session: InstallSession): Promise<QmpClient> {
  const socket = connect(session.control);
  try {
    await once(socket, 'connect');
    return await QmpClient.connect(socket, systemClock);
  } catch (cause) {
    socket.destroy();
    throw gone(session, cause);
  }
}

function gone(session: InstallSession, cause: unknown): EnvironmentError {
  const explanation = {
    what: `the installation on "${session.name}" does not answer`,
    todo: 'if another command steers it just now, try again',
  };
  return new EnvironmentError('install-gone', explanation, { cause });
}
