import { EnvironmentError, errnoOf } from '#base/mod.ts';
import { formatPortal } from './names.ts';
import type { PortalAddress } from './policy.ts';

/** Why a portal cannot be had, and what to do. */
export function portalError(portal: PortalAddress, e: unknown): EnvironmentError {
  const errno = errnoOf(e);
  const what = `the iSCSI target cannot listen on ${formatPortal(portal)}`;
  const causes: Record<string, { why: string; todo: string }> = {
    EADDRINUSE: {
      why: 'another program listens there already',
      todo: `find it with "ss -ltnp | grep :${portal.port}" and stop it, or choose another port`,
    },
    EACCES: { why: 'no permission for that port', todo: 'use a port above 1023, or run as root' },
    EADDRNOTAVAIL: {
      why: 'this host does not have that address',
      todo: 'list its addresses with "ip addr", or listen on 0.0.0.0',
    },
  };
  const known = causes[errno ?? ''];
  const why = errno ?? 'the operating system refused it';
  return new EnvironmentError('portal', { what, ...(known ?? { why }) }, { cause: e });
}
