import type { FenceReason, SessionInfo, TargetEvent } from './events.ts';

/** Why a connection ends. */
export type Ending =
  | { readonly kind: 'logout' }
  | { readonly kind: 'lost'; readonly reason: string }
  | { readonly kind: 'fenced'; readonly why: FenceReason };

/** What observers are told of the end of a session. */
export function endEvent(session: SessionInfo, ending: Ending): TargetEvent {
  switch (ending.kind) {
    case 'logout':
      return { kind: 'logout', session };
    case 'lost':
      return { kind: 'connection-lost', session, reason: ending.reason };
    case 'fenced':
      return { kind: 'session-fenced', session, why: ending.why };
    default: {
      const never: never = ending;
      return never;
    }
  }
}
