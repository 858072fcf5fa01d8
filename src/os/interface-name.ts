import { constants } from 'node:os';
import { EnvironmentError, UserError } from '#base/mod.ts';
import { bindCall } from './libc.ts';

/** IFNAMSIZ, with its NUL. */
const NAME_BYTES = 16;

const ifNameToIndex = bindCall('unsigned int if_nametoindex(void *name)');

/** The name as the kernel takes it: 16 bytes, NUL-padded. Throws UserError `invalid`. */
export function interfaceNameBytes(name: string): Uint8Array {
  const bytes = Buffer.from(name, 'latin1');
  if (bytes.length === 0 || bytes.length >= NAME_BYTES || /[/\0\s]/.test(name)) {
    throw new UserError('invalid', 'interface-name', {
      what: `"${name}" cannot be the name of a network interface`,
      why: 'a name has 1 to 15 characters',
    });
  }
  const out = new Uint8Array(NAME_BYTES);
  out.set(bytes);
  return out;
}

/**
 * The interface's number. Throws EnvironmentError `no-interface` when there is none of that name.
 */
export function interfaceIndex(name: string): number {
  const index = ifNameToIndex()(interfaceNameBytes(name));
  if (index !== 0) return index;
  throw noInterface(name);
}

/** The error for an interface that is not there. */
export function noInterface(name: string): EnvironmentError {
  return new EnvironmentError('no-interface', {
    what: `there is no network interface "${name}"`,
    why: `the kernel does not know it (errno ${constants.errno.ENODEV})`,
    todo: 'see `ip link` for the names',
  });
}
