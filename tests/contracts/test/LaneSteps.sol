// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {Books} from "./Books.sol";
import {IEscrow} from "./Escrow.sol";

/// @title What the fuzzer may do to lanes, in any order: fill, sign, forge, draw, leave, close, release, wait.
/// @dev Arguments are whatever the fuzzer likes; each step folds them into its range.
abstract contract LaneSteps is Books {
    struct Consent {
        uint256 lane;
        uint256 epoch;
        bytes call_;
    }

    Consent[] internal consents;

    // --- fill

    function deposit(uint256 id, uint96 amount) external step {
        id %= LANES;
        amount = amount % 1e15 + 1;
        _deposit(_sides(id), amount);
        _credit(id, address(this), amount);
    }

    function depositMany(uint256 id, uint96 amount, uint8 steps, bool byPayer) external step {
        id %= LANES;
        amount = amount % 1e15 + 1;
        Sides memory who = _sides(id);
        Sides memory other = _sides(id ^ 1);
        IEscrow.Deposit[] memory two = new IEscrow.Deposit[](2);
        two[0] = IEscrow.Deposit(who.payer, who.provider, who.signer, amount, steps);
        two[1] = IEscrow.Deposit(other.payer, other.provider, other.signer, 1, 0);
        address sender = byPayer ? who.payer : address(this);
        if (byPayer) _approve(sender, uint256(amount) + 1);
        Ghost storage ghost = ghosts[id];
        bool longer = uint256(steps) * STEP >= ghost.delay || ghost.balance == ghost.claimed;
        bool wanted = steps == 0 || (byPayer && longer);
        _must(wanted, _tried(sender, abi.encodeCall(IEscrow.depositMany, (two))), "I7: deposits with a delay");
        if (!wanted) return;
        if (steps != 0) ghost.delay = uint256(steps) * STEP;
        _credit(id, sender, amount);
        _credit(id ^ 1, sender, 1);
    }

    function _approve(address owner, uint256 amount) private {
        vm.prank(owner);
        token.approve(address(escrow), amount);
    }

    // --- sign

    function sign(uint256 id, uint96 more) external step {
        _signMore(id % LANES, more);
    }

    function forge(uint256 id, uint96 cumulative, uint256 place) external step {
        id %= LANES;
        Sides memory who = _sides(id);
        uint256 key = place % 2 == 0 ? _payerKey(id / PROVIDERS) : STRANGER;
        rows.push(Row(id, cumulative, false, _row(key, who, cumulative)));
        Row memory spoilt = rows[place % rows.length];
        // (A row that is spoilt twice may be whole again.)
        if (!spoilt.good) return;
        spoilt.good = false;
        spoilt.data[place % 96] ^= 0x01;
        rows.push(spoilt);
    }

    /// @dev May be more than there is: that is the payer's affair.
    function _signMore(uint256 id, uint96 more) private returns (Row memory row) {
        uint256 cumulative = ghosts[id].allowed + more % 1e12;
        ghosts[id].allowed = cumulative;
        row = Row(id, cumulative, true, _row(_sessionKey(id / PROVIDERS), _sides(id), uint96(cumulative)));
        rows.push(row);
    }

    // --- draw

    function workAndRedeem(uint256 id, uint96 more) external step {
        id %= LANES;
        Row[] memory one = new Row[](1);
        one[0] = _signMore(id, more);
        _redeem(_sides(id).provider, one, false);
    }

    function redeem(uint256 provider, uint256 seed, uint256 count, bool elsewhere) external step {
        Row[] memory picked = new Row[](rows.length == 0 ? 0 : count % 7);
        for (uint256 k; k < picked.length; ++k) {
            // Any, or the newest: of those, several lanes may still have something to pay.
            uint256 back = seed % 2 == 0 ? k : uint256(keccak256(abi.encode(seed, k)));
            picked[k] = rows[rows.length - 1 - back % rows.length];
        }
        _redeem(providers[provider % PROVIDERS], picked, elsewhere);
    }

    function _redeem(address provider, Row[] memory picked, bool elsewhere) private {
        (uint256 wanted, bytes memory packed) = (0, "");
        for (uint256 k; k < picked.length; ++k) {
            packed = bytes.concat(packed, picked[k].data);
            wanted += _draw(picked[k], provider);
        }
        _same(escrow.previewRedeem(provider, packed), wanted, "I11: preview");
        address to = elsewhere ? NOBODY : provider;
        if (elsewhere) vm.prank(provider);
        _same(elsewhere ? escrow.redeemManyTo(to, packed) : escrow.redeemMany(provider, packed), wanted, "paid");
        _same(escrow.redeemMany(provider, packed), 0, "I5: a second time");
        _move(address(escrow), to, wanted);
    }

    // --- leave

    function startExit(uint256 id) external step {
        id %= LANES;
        Ghost storage ghost = ghosts[id];
        Sides memory who = _sides(id);
        bool wanted = ghost.due == 0 && ghost.balance != ghost.claimed;
        bool done = _tried(who.payer, abi.encodeCall(IEscrow.startExit, (who.provider, who.signer)));
        _must(wanted, done, "startExit");
        if (done) ghost.due = clock + ghost.delay;
    }

    function cancelExit(uint256 id, uint256 whose) external step {
        id %= LANES;
        Sides memory who = _sides(id);
        address sender = [who.payer, who.payer, who.provider, who.signer, address(this)][whose % 5];
        bool wanted = ghosts[id].due != 0 && sender == who.payer;
        bool done = _tried(sender, abi.encodeCall(IEscrow.cancelExit, (who.provider, who.signer)));
        _must(wanted, done, "I7: cancelExit");
        if (done) ghosts[id].due = 0;
    }

    /// @dev Tried now, or in the last second in which it must fail, or in the first in which it must not.
    function finishExit(uint256 id, uint256 moment) external step {
        id %= LANES;
        Ghost storage ghost = ghosts[id];
        if (ghost.due > clock && moment % 3 != 0) clock = ghost.due - moment % 3 + 1;
        vm.warp(clock);
        Sides memory who = _sides(id);
        bool wanted = ghost.due != 0 && clock >= ghost.due;
        bool done = _tried(address(this), abi.encodeCall(IEscrow.finishExit, (who.payer, who.provider, who.signer)));
        _must(wanted, done, "I6, I8: finishExit");
        if (done) _settle(id, ghost.claimed);
    }

    function closeTogether(uint256 id, uint256 part, uint256 sender, bool oneMissing) external step {
        id %= LANES;
        Ghost storage ghost = ghosts[id];
        uint256 cumulative = ghost.claimed + part % (ghost.balance - ghost.claimed + 1);
        bytes memory call_ = _closeCall(id, uint96(cumulative), part % 2 == 0, oneMissing);
        Sides memory who = _sides(id);
        address from = [address(this), who.payer, who.provider][sender % 3];
        // The one whose signature is missing may still be the one who sends it.
        bool wanted = !oneMissing || from == (part % 2 == 0 ? who.payer : who.provider);
        _must(wanted, _tried(from, call_), "I9: closeTogether");
        if (!wanted) return;
        if (cumulative > ghost.allowed) ghost.allowed = cumulative;
        consents.push(Consent(id, ghost.epoch, call_));
        _settle(id, cumulative);
    }

    function _closeCall(uint256 id, uint96 cumulative, bool ofPayer, bool oneMissing)
        private
        view
        returns (bytes memory)
    {
        Sides memory who = _sides(id);
        uint40 deadline = uint40(clock + 10 * WINDOW);
        bytes32 digest = _closeDigest(who, uint16(ghosts[id].epoch), cumulative, deadline);
        uint256 wrong = oneMissing ? _sessionKey(id / PROVIDERS) : 0;
        bytes memory a = _sign(oneMissing && !ofPayer ? wrong : _providerKey(id), digest);
        bytes memory b = _signCompact(oneMissing && ofPayer ? wrong : _payerKey(id / PROVIDERS), digest);
        return abi.encodeCall(
            IEscrow.closeTogether, (who.payer, who.provider, who.signer, cumulative, deadline, a, b)
        );
    }

    function release(uint256 id, uint256 part, bool consented) external step {
        id %= LANES;
        Ghost storage ghost = ghosts[id];
        Sides memory who = _sides(id);
        uint256 newBalance = ghost.claimed + part % (ghost.balance - ghost.claimed + 1);
        uint40 deadline = uint40(clock + 10 * WINDOW);
        bytes32 digest = _releaseDigest(who, uint16(ghost.epoch), uint96(newBalance), deadline);
        bytes memory consent = _sign(consented ? _providerKey(id) : _payerKey(id / PROVIDERS), digest);
        bytes memory call_ =
            abi.encodeCall(IEscrow.release, (who.provider, who.signer, uint96(newBalance), deadline, consent));
        bool wanted = consented && newBalance < ghost.balance;
        _must(wanted, _tried(who.payer, call_), "release");
        if (!wanted) return;
        consents.push(Consent(id, ghost.epoch, call_));
        _move(address(escrow), who.payer, ghost.balance - newBalance);
        ghost.balance = newBalance;
        ++ghost.epoch;
    }

    function replayConsent(uint256 pick) external step {
        if (consents.length == 0) return;
        Consent memory old = consents[pick % consents.length];
        _must(false, _tried(_sides(old.lane).payer, old.call_), "A9: an old consent");
    }

    function wait(uint256 seconds_) external step {
        clock += seconds_ % (2 * WINDOW);
    }
}
