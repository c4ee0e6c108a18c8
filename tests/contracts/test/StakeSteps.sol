// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {Books} from "./Books.sol";
import {IEscrow} from "./Escrow.sol";

/// @title What the fuzzer may do to stakes: add, leave, take, and accuse, rightly or not.
abstract contract StakeSteps is Books {
    mapping(bytes32 fault => bool) private punished;

    function addStake(uint256 j, uint96 amount) external step {
        j %= PROVIDERS;
        amount = amount % 1e15 + 1;
        address provider = providers[j];
        vm.prank(provider);
        escrow.addStake(amount);
        stakes[j] = GhostStake(stakes[j].amount + amount, 0);
        _move(provider, address(escrow), amount);
    }

    function leaveStake(uint256 j) external step {
        j %= PROVIDERS;
        GhostStake storage stake = stakes[j];
        bool wanted = stake.amount != 0 && stake.unlocksAt == 0;
        bool done = _tried(providers[j], abi.encodeCall(IEscrow.leaveStake, ()));
        _must(wanted, done, "I13: leaveStake");
        if (done) stake.unlocksAt = clock + STAKE_WINDOW;
    }

    /// @dev Tried now, or in the last second in which it must fail, or in the first in which it must not.
    function takeStake(uint256 j, uint256 moment) external step {
        j %= PROVIDERS;
        GhostStake storage stake = stakes[j];
        if (stake.unlocksAt > clock && moment % 3 != 0) clock = stake.unlocksAt - moment % 3 + 1;
        vm.warp(clock);
        bool wanted = stake.unlocksAt != 0 && clock >= stake.unlocksAt;
        bool done = _tried(providers[j], abi.encodeCall(IEscrow.takeStake, ()));
        _must(wanted, done, "I13: takeStake");
        if (!done) return;
        _move(address(escrow), providers[j], stake.amount);
        stakes[j] = GhostStake(0, 0);
    }

    /// @param lie 0: both statements are the provider's own. Else one is not, or they agree.
    function accuse(uint256 j, uint64 seq, bool grant, uint256 lie) external step {
        j %= PROVIDERS;
        seq %= 8;
        lie %= 6;
        GhostStake storage stake = stakes[j];
        bytes32 fault = keccak256(abi.encode(j, seq, grant));
        bool wanted = lie != 1 && lie != 2 && lie != 3 && !punished[fault] && stake.amount != 0;
        _must(wanted, _tried(address(this), _accusation(j, seq, grant ? 1 : 0, lie)), "I13: slashEquivocation");
        if (!wanted) return;
        punished[fault] = true;
        uint256 taken = stake.amount - stake.amount / 2;
        stake.amount -= taken;
        _move(address(escrow), address(this), taken / 4);
        _move(address(escrow), NOBODY, taken - taken / 4);
    }

    function _accusation(uint256 j, uint64 seq, uint8 kind, uint256 lie) private view returns (bytes memory) {
        bytes32 other = lie == 3 ? bytes32("one") : bytes32("other");
        bytes memory a = _sign(lie == 1 ? STRANGER : _providerKey(j), _statementDigest(kind, "subject", seq, "one"));
        bytes memory b = _sign(lie == 2 ? STRANGER : _providerKey(j), _statementDigest(kind, "subject", seq, other));
        address provider = providers[j];
        return abi.encodeCall(IEscrow.slashEquivocation, (provider, kind, "subject", seq, "one", a, other, b));
    }
}
