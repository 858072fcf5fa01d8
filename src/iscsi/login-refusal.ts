import { PolybootError } from '#base/mod.ts';
import { formatPortal } from './names.ts';
import { LoginStatus } from './policy.ts';
import type { Verdict } from './policy.ts';
import type { KeyValue } from './text.ts';

/**
 * Why a login ends here: a status for the wire, a reason for people, and text that goes with it.
 */
export class LoginRefusal extends PolybootError {
  readonly status: LoginStatus;
  readonly text: readonly KeyValue[];

  constructor(status: LoginStatus, reason: string, text: readonly KeyValue[] = []) {
    super('login-refused', reason);
    this.status = status;
    this.text = text;
  }
}

/** The initiator broke the rules of login (status 0200h). */
export function misuse(reason: string): LoginRefusal {
  return new LoginRefusal(LoginStatus.INITIATOR_ERROR, reason);
}

/** The initiator did not prove who it is (status 0201h). */
export function unauthenticated(reason: string): LoginRefusal {
  return new LoginRefusal(LoginStatus.AUTHENTICATION_FAILURE, reason);
}

/**
 * The refusal that a verdict asks for. A redirection always names the port: iPXE stores the default
 * one in the wrong byte order, and would knock at 48140 (its iscsi.c).
 */
export function refusalOf(verdict: Extract<Verdict, { kind: 'deny' | 'redirect' }>): LoginRefusal {
  if (verdict.kind === 'deny') return new LoginRefusal(verdict.status, verdict.reason);
  const { portal, permanent } = verdict;
  const status = permanent ? LoginStatus.MOVED_PERMANENTLY : LoginStatus.MOVED_TEMPORARILY;
  const address = `${formatPortal(portal)},1`;
  return new LoginRefusal(status, `sent to ${address}`, [['TargetAddress', address]]);
}
