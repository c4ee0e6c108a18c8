// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {Rig} from "./Rig.sol";

/// @title What three payers, two providers and their six lanes must look like, kept beside the escrow.
/// @dev The clock and every figure are this contract's own; the escrow's answers are only ever compared with them.
abstract contract Books is Rig {
    struct Ghost {
        uint256 balance;
        uint256 claimed;
        /// The most that the lane's signer signed, or the payer agreed to in a close.
        uint256 allowed;
        uint256 due;
        uint256 delay;
        uint256 epoch;
    }

    struct GhostStake {
        uint256 amount;
        uint256 unlocksAt;
    }

    struct Row {
        uint256 lane;
        uint256 cumulative;
        bool good;
        bytes data;
    }

    uint256 internal constant PAYERS = 3;
    uint256 internal constant PROVIDERS = 2;
    uint256 internal constant LANES = PAYERS * PROVIDERS;
    uint256 internal constant FUNDS = 1e27;

    /// @dev Deriving an address from its key costs more than everything else here, so it is done once.
    Sides[LANES] private lanes;
    address[PROVIDERS] internal providers;
    Ghost[LANES] internal ghosts;
    GhostStake[PROVIDERS] internal stakes;
    Row[] internal rows;
    uint256 internal clock;
    /// @dev What every account must hold, by account.
    mapping(address account => uint256) internal purse;
    address[] internal holders;

    constructor() {
        _deployAll();
        clock = block.timestamp;
        _open(address(this), 0);
        _open(address(escrow), 0);
        _open(NOBODY, 0);
        for (uint256 i; i < PAYERS; ++i) {
            _open(vm.addr(_payerKey(i)), FUNDS);
        }
        for (uint256 j; j < PROVIDERS; ++j) {
            providers[j] = vm.addr(_providerKey(j));
            _open(providers[j], FUNDS);
            vm.prank(providers[j]);
            token.approve(address(escrow), type(uint256).max);
        }
        for (uint256 id; id < LANES; ++id) {
            uint256 i = id / PROVIDERS;
            lanes[id] = Sides(vm.addr(_payerKey(i)), providers[id % PROVIDERS], vm.addr(_sessionKey(i)));
            _deposit(_sides(id), 1e9);
            _credit(id, address(this), 1e9);
        }
        _compare();
    }

    function _open(address account, uint256 funds) private {
        token.mint(account, funds);
        holders.push(account);
        purse[account] = token.balanceOf(account);
    }

    /// @dev Every step happens at the ghost clock's time, and is followed by a look at everything.
    modifier step() {
        vm.warp(clock);
        _;
        _compare();
    }

    // --- names

    function _payerKey(uint256 i) internal pure returns (uint256) {
        return 0xA00 + i % PAYERS;
    }

    function _providerKey(uint256 j) internal pure returns (uint256) {
        return 0xB00 + j % PROVIDERS;
    }

    function _sessionKey(uint256 i) internal pure returns (uint256) {
        return 0xC00 + i % PAYERS;
    }

    function _sides(uint256 id) internal view returns (Sides memory) {
        return lanes[id];
    }

    // --- what must have happened

    function _move(address from, address to, uint256 amount) internal {
        purse[from] -= amount;
        purse[to] += amount;
    }

    function _credit(uint256 id, address from, uint256 amount) internal {
        Ghost storage ghost = ghosts[id];
        ghost.balance += amount;
        if (ghost.delay == 0) ghost.delay = WINDOW;
        _move(from, address(escrow), amount);
    }

    /// @dev What a row draws now, written down at once: the next row of the batch finds it drawn.
    function _draw(Row memory row, address provider) internal returns (uint256 worth) {
        if (!row.good || _sides(row.lane).provider != provider) return 0;
        Ghost storage ghost = ghosts[row.lane];
        uint256 most = row.cumulative < ghost.balance ? row.cumulative : ghost.balance;
        if (most <= ghost.claimed) return 0;
        worth = most - ghost.claimed;
        ghost.claimed = most;
    }

    function _settle(uint256 id, uint256 cumulative) internal {
        Ghost storage ghost = ghosts[id];
        Sides memory who = _sides(id);
        _move(address(escrow), who.provider, cumulative - ghost.claimed);
        _move(address(escrow), who.payer, ghost.balance - cumulative);
        (ghost.balance, ghost.claimed, ghost.due) = (cumulative, cumulative, 0);
        ++ghost.epoch;
    }

    // --- what is compared

    function _compare() internal view {
        uint256 owed;
        for (uint256 id; id < LANES; ++id) {
            Ghost memory ghost = ghosts[id];
            LaneState memory state = _lane(_sides(id));
            _same(state.balance, ghost.balance, "balance");
            _same(state.claimed, ghost.claimed, "I3, I5: claimed");
            _same(state.exitAt, ghost.due, "I7: exit");
            _same(state.delaySeconds, ghost.delay, "delay");
            _same(state.epoch, ghost.epoch, "epoch");
            require(state.claimed <= state.balance, "I2");
            require(state.claimed <= ghost.allowed, "I4");
            owed += uint256(state.balance) - state.claimed;
        }
        for (uint256 j; j < PROVIDERS; ++j) {
            (uint96 amount, uint40 unlocksAt) = escrow.stakeOf(providers[j]);
            _same(amount, stakes[j].amount, "I13: stake");
            _same(unlocksAt, stakes[j].unlocksAt, "I13: unlock");
            owed += amount;
        }
        _same(token.balanceOf(address(escrow)), owed, "I1");
        for (uint256 k; k < holders.length; ++k) {
            _same(token.balanceOf(holders[k]), purse[holders[k]], "I12");
        }
    }

    /// @dev The step must go through exactly when the books say so.
    function _must(bool wanted, bool done, string memory what) internal pure {
        if (wanted != done) revert(string.concat(what, done ? ": went through" : ": was refused"));
    }
}
