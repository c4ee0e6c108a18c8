// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {Books} from "./Books.sol";
import {SignedDeposits} from "./SignedDeposits.sol";

/// @title What the fuzzer may do with signed deposits: send good ones, spoilt ones, and the same ones again.
abstract contract SignedSteps is Books, SignedDeposits {
    mapping(bytes32 nonce => bool) private spent;

    /// @param mood Bits: spoilt, sent by the payer itself, with an allowance.
    function depositWithAuthorization(uint256 id, uint96 amount, uint256 salt, uint256 mood) external step {
        id %= LANES;
        amount = amount % 1e15 + 1;
        Sides memory who = _sides(id);
        Authorized memory made = _authorized(_payerKey(id / PROVIDERS), who, amount, bytes32(salt % 4), clock + 1);
        (bool spoilt, bool byPayer, bool allowed) = (mood & 1 != 0, mood & 2 != 0, mood & 4 != 0);
        if (spoilt) made.r ^= bytes32(uint256(1));
        _allow(who.payer, allowed ? amount : 0);
        bytes32 nonce = keccak256(abi.encode(id, salt % 4));
        bool taken = !spoilt && !spent[nonce];
        bool wanted = taken || (byPayer && allowed && !spent[nonce]);
        _must(wanted, _tried(byPayer ? who.payer : address(this), _call(made)), "A17: depositWithAuthorization");
        if (wanted) _credit(id, who.payer, amount);
        if (!taken) return;
        spent[nonce] = true;
        _allow(who.payer, amount);
        _must(false, _tried(who.payer, _call(made)), "A17: paid twice");
    }

    /// @param mood Bits: spoilt, used up by somebody before.
    function depositWithPermit(uint256 id, uint96 amount, uint256 mood) external step {
        id %= LANES;
        amount = amount % 1e15 + 1;
        Sides memory who = _sides(id);
        Permitted memory made = _permitted(_payerKey(id / PROVIDERS), who, amount, clock);
        _allow(who.payer, 0);
        bool spoilt = mood & 1 != 0;
        if (spoilt) made.r ^= bytes32(uint256(1));
        else if (mood & 2 != 0) token.permit(who.payer, address(escrow), amount, clock, made.v, made.r, made.s);
        _must(!spoilt, _tried(who.payer, _call(made)), "A17: depositWithPermit");
        if (!spoilt) _credit(id, who.payer, amount);
    }

    function _allow(address owner, uint256 amount) private {
        vm.prank(owner);
        token.approve(address(escrow), amount);
    }
}
